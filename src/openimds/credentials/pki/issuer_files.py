"""The files of one issuer: its certificate, the rest of its chain, and its key."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from openimds.credentials.keys.files import KeyFileError, plain_reason, read_key
from openimds.credentials.pki.certificates import KeyIssuer
from openimds.credentials.pki.chain import ExternalCa

OLD = "old"
"""The folder of replaced certificates, beside those in use."""


def read_issuer(certificates: Path, key: Path) -> ExternalCa:
    """Read an issuer; its PEM file may also hold the rest of its chain.

    Raises:
        KeyFileError: a file cannot be read, the key does not fit, or the certificate is not a CA's.
    """
    own, *above = read_certificates(certificates)
    if not key.exists():
        raise misfit(key, f"saw no file, expected the key of {certificates}")
    issuer = KeyIssuer(own, read_issuer_key(key))
    if own.public_key() != issuer.key.public_key():
        raise misfit(certificates, f"its first certificate is for another key than {key} holds")
    return ExternalCa(issuer, tuple(above))


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read the certificates of a PEM file, whose first must be a CA's.

    Raises:
        KeyFileError: the file cannot be read, has no certificate, or the first is not a CA's.
    """
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
        limits = certificates[0].extensions.get_extension_for_class(x509.BasicConstraints).value
    except OSError as error:
        raise KeyFileError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except x509.ExtensionNotFound:
        raise misfit(path, "its first certificate is not a CA certificate") from None
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise misfit(path, f"saw {plain_reason(error)}, expected certificates in PEM") from None
    if not limits.ca:
        raise misfit(path, "its first certificate is not a CA certificate")
    return certificates


def read_issuer_key(path: Path) -> RSAPrivateKey:
    """Read the key of an issuer.

    Raises:
        KeyFileError: it cannot be read, or is no RSA key.
    """
    return read_key(path, _start_over(path.parent))


def misfit(path: Path, seen: str) -> KeyFileError:
    """Return the error of a file that does not fit, with the remedies."""
    if path.parent.name == OLD:
        remedy = f"remove it: {path.stem} is then no longer published"
    else:
        remedy = _start_over(path.parent)
    return KeyFileError(f"{path}: {seen}. Restore the file from a backup, or {remedy}")


def _start_over(folder: Path) -> str:
    """Return the remedy of last resort: root and intermediate are replaced together."""
    return (
        f"type mv {folder} {folder}.away: new keys and certificates are made, and verifiers need "
        "the new trust bundle"
    )
