"""An operator's own issuer, read from the files of two settings.

What is wrong with it is told at the start, with the name of the setting, since a verifier would
tell it much later and somebody else. Nothing here is ever made anew or written.
"""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from openimds.credentials.keys.files import KEY_BITS, OTHERS, plain_reason
from openimds.credentials.pki.certificates import KeyIssuer, is_issued_by
from openimds.credentials.pki.chain_files import ExternalCa
from openimds.errors import ConfigError

_CERTIFICATES, _KEY = "attest_certificates", "attest_key"
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_ORDER = "Write your intermediate first, below it the one that issued it, and so on to the root"


def read_external_ca(certificates: Path, key: Path, now_s: float) -> ExternalCa:
    """Return an operator's issuer, held against what its leaves will need.

    Raises:
        ConfigError: a file cannot be read or is not what its setting says; the certificates are
            no chain of authorities, or not valid at this time; the key is another's.
    """
    found = _read_certificates(certificates)
    where = f"{_CERTIFICATES}: {certificates}"
    for one in found:
        _check_authority(where, one, now_s)
    for one, above in pairwise(found):
        if not is_issued_by(one, above):
            seen = f"{_named(one)} and below it {_named(above)}, which did not issue it"
            raise ConfigError(where, seen, "each certificate above its issuer's", _ORDER)
    own = found[0]
    public = own.public_key()
    if not isinstance(public, RSAPublicKey) or public.key_size < KEY_BITS:
        size = f"RSA of {public.key_size} bits" if isinstance(public, RSAPublicKey) else "no RSA"
        hint = f"Type openssl genrsa -out new.key {KEY_BITS}, and have a certificate issued for it"
        raise ConfigError(
            where, f"{size} in {_named(own)}", f"an RSA key of {KEY_BITS} bits or more", hint
        )
    private = _read_key(key)
    if private.public_key() != public:
        hint = f"Name the key of {_named(own)} with {_KEY}. {_ORDER}"
        seen = f"another key than that of the first certificate in {certificates}"
        raise ConfigError(f"{_KEY}: {key}", seen, "the key that belongs to it", hint)
    return ExternalCa(KeyIssuer(own, private), tuple(found[1:]))


def _check_authority(where: str, one: x509.Certificate, now_s: float) -> None:
    now = datetime.fromtimestamp(now_s, UTC)
    if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
        span = f"{one.not_valid_before_utc:%F %T} to {one.not_valid_after_utc:%F %T} UTC"
        seen = f"{_named(one)}, valid from {span}"
        hint = "Have it issued again, or type date -u if the clock is wrong"
        raise ConfigError(where, seen, f"a certificate that is valid now, {now:%F %T} UTC", hint)
    try:
        limits = _said(one, x509.BasicConstraints)
        usage = _said(one, x509.KeyUsage)
    except (ValueError, x509.DuplicateExtension) as error:
        seen = f"{_named(one)}: {plain_reason(error)}"
        raise ConfigError(where, seen, "a certificate that can be read") from None
    if limits is None or not limits.ca:
        hint = f"{_ORDER}; leave out certificates of servers"
        seen = f"{_named(one)}, which is no authority's"
        raise ConfigError(where, seen, "basicConstraints with CA:TRUE", hint)
    if usage is not None and not usage.key_cert_sign:
        hint = 'Have it issued again with "keyUsage = critical, keyCertSign, cRLSign"'
        seen = f"{_named(one)}, whose keyUsage lacks keyCertSign"
        raise ConfigError(where, seen, "an authority that may issue certificates", hint)


def _said(one: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return one.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _named(one: x509.Certificate) -> str:
    return one.subject.rfc4514_string() or "a certificate without a name"


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
        hint = f"Others can read this private key. Type chmod 600 {path}"
        raise ConfigError(where, f"the mode {mode & 0o777:04o}", "0600", hint)
    try:
        key = load_pem_private_key(text, None)
    except TypeError:
        hint = f"Type openssl pkey -in {path} -out {path}.plain"
        raise ConfigError(where, "a key with a pass phrase", "one without", hint) from None
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
        said = (error.strerror or str(error)).lower()
        raise ConfigError(f"{setting}: {path}", said, "a file that can be read") from None
