"""Read an operator's external CA from the files of two settings.

Every fault stops the start and names the setting: otherwise a verifier would find it later,
elsewhere. The files are never made or written.
"""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from openimds.credentials.keys.files import KEY_BITS, OTHERS, plain_reason
from openimds.credentials.pki.certificate_info import is_issued_by
from openimds.credentials.pki.certificates import KeyIssuer
from openimds.credentials.pki.chain import ExternalCa
from openimds.errors import ConfigError

_CERTIFICATES, _KEY = "attest_certificates", "attest_key"
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_ORDER = "Write the intermediate first, then the certificate of its issuer, and so on to the root"


def read_external_ca(certificates: Path, key: Path, now_s: float) -> ExternalCa:
    """Read an operator's issuer, and check that it can issue leaves.

    Raises:
        ConfigError: a file cannot be read or parsed; the certificates are not a chain of CAs, or
            not valid now; the key does not fit.
    """
    chain = _read_certificates(certificates)
    where = f"{_CERTIFICATES}: {certificates}"
    for certificate in chain:
        _check_ca(where, certificate, now_s)
    for certificate, issuer in pairwise(chain):
        if not is_issued_by(certificate, issuer):
            seen = f"{_name(certificate)} followed by {_name(issuer)}, which did not issue it"
            raise ConfigError(where, seen, "each certificate followed by its issuer's", _ORDER)
    intermediate = chain[0]
    public = intermediate.public_key()
    if not isinstance(public, RSAPublicKey) or public.key_size < KEY_BITS:
        size = (
            f"RSA of {public.key_size} bits"
            if isinstance(public, RSAPublicKey)
            else "another kind of key"
        )
        hint = f"Type openssl genrsa -out new.key {KEY_BITS}, and have a certificate issued for it"
        raise ConfigError(
            where,
            f"{size} in {_name(intermediate)}",
            f"an RSA key of {KEY_BITS} bits or more",
            hint,
        )
    private = _read_key(key)
    if private.public_key() != public:
        hint = f"Set {_KEY} to the key of {_name(intermediate)}. {_ORDER}"
        seen = f"another key than that of the first certificate in {certificates}"
        raise ConfigError(f"{_KEY}: {key}", seen, "the key of that certificate", hint)
    return ExternalCa(KeyIssuer(intermediate, private), tuple(chain[1:]))


def _check_ca(where: str, certificate: x509.Certificate, now_s: float) -> None:
    now = datetime.fromtimestamp(now_s, UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now <= ends:
        seen = f"{_name(certificate)}, valid from {begins:%F %T} to {ends:%F %T} UTC"
        hint = "Have it issued again, or type date -u to check the clock"
        raise ConfigError(where, seen, f"a certificate that is valid now, {now:%F %T} UTC", hint)
    try:
        limits = _extension(certificate, x509.BasicConstraints)
        usage = _extension(certificate, x509.KeyUsage)
    except (ValueError, x509.DuplicateExtension) as error:
        seen = f"{_name(certificate)}: {plain_reason(error)}"
        raise ConfigError(where, seen, "a readable certificate") from None
    if limits is None or not limits.ca:
        hint = f"{_ORDER}; leave out certificates of servers"
        seen = f"{_name(certificate)}, which is not a CA certificate"
        raise ConfigError(where, seen, "basicConstraints with CA:TRUE", hint)
    if usage is not None and not usage.key_cert_sign:
        hint = 'Have it issued again with "keyUsage = critical, keyCertSign, cRLSign"'
        seen = f"{_name(certificate)}, whose keyUsage lacks keyCertSign"
        raise ConfigError(where, seen, "a CA that may issue certificates", hint)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a name"


def _read_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(_CERTIFICATES, path))
    except (ValueError, x509.InvalidVersion) as error:
        hint = f"If it is DER, type openssl x509 -inform DER -in {path} -out {path}.pem"
        raise ConfigError(
            f"{_CERTIFICATES}: {path}", plain_reason(error), "certificates in PEM", hint
        ) from None


def _read_key(path: Path) -> RSAPrivateKey:
    where = f"{_KEY}: {path}"
    text = _read(_KEY, path)
    mode = path.stat().st_mode
    if mode & OTHERS:
        hint = f"Type chmod 600 {path}: others can read this private key"
        raise ConfigError(where, f"the mode {mode & 0o777:04o}", "0600", hint)
    try:
        key = load_pem_private_key(text, None)
    except TypeError:
        hint = f"Type openssl pkey -in {path} -out {path}.plain"
        raise ConfigError(where, "a key with a pass phrase", "a key without one", hint) from None
    except ValueError as error:
        hint = f"If it is DER, type openssl pkey -inform DER -in {path} -out {path}.pem"
        raise ConfigError(where, plain_reason(error), "an RSA private key in PEM", hint) from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError(where, "a key of another kind", "an RSA private key in PEM")
    return key


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"{setting}: {path}", reason, "a file that can be read") from None
