"""A private key with its certificate, in one file that its owner alone can read."""

from collections.abc import Callable
from pathlib import Path

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
from msgspec import Struct

from openimds.credentials.keys.files import KeyFileError, plain_reason, read_file, write_file
from openimds.private_files import mode_of, open_bits

_REMEDY = (
    "remove it and the others of its folder: new ones are made, and verifiers need the new root"
)


class Holder(Struct, frozen=True):
    """A private key, and the certificate of its public half.

    `above` has the certificates that follow in the same file.
    """

    key: RSAPrivateKey | EllipticCurvePrivateKey
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()


def open_holder(
    folder: Path | None, name: str, make: Callable[[], Holder], otherwise: str = _REMEDY
) -> Holder:
    """Return the holder in a file of a folder; make a missing one.

    Without a folder the holder ends with the process. `otherwise` is the operator's remedy without
    a backup.

    Raises:
        KeyFileError: the file cannot be read or written, others may read it, or it does not hold a
            key with its certificate.
    """
    if folder is None:
        return make()
    path = folder / f"{name}.pem"
    try:
        return read_holder(path, otherwise)
    except FileNotFoundError:
        holder = make()
        write_holder(path, holder)
        return holder


def read_holder(path: Path, otherwise: str = _REMEDY) -> Holder:
    """Return the holder in a file.

    Raises:
        FileNotFoundError: there is no such file.
        KeyFileError: as `open_holder`.
    """
    text, status = read_file(path)
    if open_bits(status):
        raise KeyFileError(
            f"{path}: saw the mode {mode_of(status)}, expected 0600: others can read this "
            f"private key. Type chmod 600 {path} if nobody has read it, else {otherwise}"
        )
    try:
        key = load_pem_private_key(text, None)
        certificate, *above = x509.load_pem_x509_certificates(text)
    except (ValueError, TypeError) as error:
        raise _unfit(path, plain_reason(error) or "not readable", otherwise) from None
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey):
        raise _unfit(path, "a key of another kind", otherwise)
    if _public(key) != _public(certificate):
        raise _unfit(path, "the certificate of another key", otherwise)
    return Holder(key, certificate, tuple(above))


def write_holder(path: Path, holder: Holder) -> None:
    """Write a holder, mode 0600; the file is whole or absent.

    Raises:
        KeyFileError: the file cannot be written.
    """
    key = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificates = (holder.certificate, *holder.above)
    write_file(path, key + b"".join(one.public_bytes(Encoding.PEM) for one in certificates))


def _public(of: RSAPrivateKey | EllipticCurvePrivateKey | x509.Certificate) -> bytes:
    return of.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _unfit(path: Path, seen: str, otherwise: str) -> KeyFileError:
    return KeyFileError(
        f"{path}: saw {seen}, expected a key and its certificate in PEM. Restore the file from a "
        f"backup, or {otherwise}"
    )
