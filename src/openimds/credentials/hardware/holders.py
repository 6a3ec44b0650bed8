"""The opening of a processor maker's chain, and the common parts of its certificates."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from openimds.credentials.keys.files import lasting

Chain = TypeVar("Chain")


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
    loss = "evidence of processors is signed by keys in memory, and no longer verifies"
    return lasting(open_chain, folder, report if is_new else None, loss)


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
