"""A private key with its certificate, in one file that its owner alone can read."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from msgspec import Struct

from openimds.credentials.keys.files import (
    KeyFileError,
    UnwritableFileError,
    plain_reason,
    read_file,
    write_file,
)
from openimds.private_files import mode_of, open_bits

_REMEDY = (
    "Restore the file from a backup, or remove it and the others of its folder: new ones are made, "
    "and verifiers need the new root"
)


Chain = TypeVar("Chain")


class Holder(Struct, frozen=True):
    """A private key, and the certificate of its public half."""

    key: RSAPrivateKey | EllipticCurvePrivateKey
    certificate: x509.Certificate


def open_lasting(
    open_chain: Callable[[Path | None], Chain],
    folder: Path | None,
    root: str,
    report: Callable[[str], None] | None,
) -> Chain:
    """Open a chain in a folder, or in memory on a full disk.

    A chain whose root is there is not begun anew. `root` is the name of its root's file, `report`
    takes a sentence on keys in memory; None makes them an error.

    Raises:
        KeyFileError: a file of the folder cannot be used, or its chain not completed.
    """
    is_new = folder is not None and not (folder / f"{root}.pem").exists()
    try:
        return open_chain(folder)
    except UnwritableFileError as error:
        if report is None or not is_new:
            raise
        chain = open_chain(None)
        report(
            f"{error}: evidence of processors is signed by keys in memory, and no longer verifies "
            "after a restart. Free space on the disk, then restart"
        )
        return chain


def open_holder(folder: Path | None, name: str, make: Callable[[], Holder]) -> Holder:
    """Return the holder in a file of a folder; make a missing one.

    Without a folder the holder ends with the process.

    Raises:
        KeyFileError: the file cannot be read or written, others may read it, or it does not hold a
            key with its certificate.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.pem"
    try:
        text, status = read_file(path)
    except FileNotFoundError:
        holder = make()
        key = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_file(path, key + holder.certificate.public_bytes(Encoding.PEM))
        return holder
    if open_bits(status):
        raise KeyFileError(
            f"{path}: saw the mode {mode_of(status)}, expected 0600: others can read this "
            f"private key. Type chmod 600 {path} if nobody has read it, else remove the folder: a "
            "new root is made"
        )
    try:
        key_in_file = load_pem_private_key(text, None)
        certificate = x509.load_pem_x509_certificate(text)
    except (ValueError, TypeError) as error:
        raise _unfit(path, plain_reason(error) or "not readable") from None
    if not isinstance(key_in_file, RSAPrivateKey | EllipticCurvePrivateKey):
        raise _unfit(path, "a key of another kind")
    if _public(key_in_file) != _public(certificate):
        raise _unfit(path, "the certificate of another key")
    return Holder(key_in_file, certificate)


def _public(of: RSAPrivateKey | EllipticCurvePrivateKey | x509.Certificate) -> bytes:
    return of.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _unfit(path: Path, seen: str) -> KeyFileError:
    return KeyFileError(f"{path}: saw {seen}, expected a key and its certificate in PEM. {_REMEDY}")


# The parts that the certificates of both makers have.


def name_of(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    """Return a name of these parts, in their order."""
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


def place_of(state: str, city: str) -> tuple[tuple[x509.ObjectIdentifier, str], ...]:
    """Return the parts of a name for a place in the United States."""
    return (
        (NameOID.COUNTRY_NAME, "US"),
        (NameOID.LOCALITY_NAME, city),
        (NameOID.STATE_OR_PROVINCE_NAME, state),
    )


def start_certificate(
    subject: x509.Name, issuer: x509.Name, begins: datetime, years: int
) -> x509.CertificateBuilder:
    """Return a builder with the names, a random serial number and the validity."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=365 * years))
    )


def with_authority(
    builder: x509.CertificateBuilder, crl: str, path_length: int | None
) -> x509.CertificateBuilder:
    """Return the builder with the extensions of a CA and the address of its CRL."""
    usage = key_usage(signs_certificates=True)
    limit = x509.BasicConstraints(ca=True, path_length=path_length)
    return (
        builder.add_extension(limit, critical=True)
        .add_extension(usage, critical=True)
        .add_extension(crl_address(crl), critical=False)
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return the usage of a CA's key, or that of a key that signs data."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=not signs_certificates,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def crl_address(url: str) -> x509.CRLDistributionPoints:
    """Return the extension that names the address of a CRL."""
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return x509.CRLDistributionPoints([point])


def date(year: int, month: int, day: int) -> datetime:
    """Return the beginning of a day in UTC."""
    return datetime(year, month, day, tzinfo=UTC)
