"""Issue client certificates of MSI v2 for a guest's key."""

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from openimds.credentials.keys.files import (
    MakeKey,
    lasting,
    new_key,
    read_key,
    write_key,
)
from openimds.protocol.pending import Certificate, Failed, PendingCertificate

FILE_NAME = "msi-v2.key"
DAYS = 7
_BACKDATED_S = 300
_ISSUER = "managedidentitysnissuer.login.microsoft.com"
_BITS = (2048, 3072, 4096)


class ClientCertificates:
    """Signs client certificates with one key, which the first request makes."""

    def __init__(
        self,
        folder: Path | None,
        make_key: MakeKey | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        """Store the key in a state directory; without one, it ends with the process.

        So does a key that cannot be written; `notify` takes a sentence on it, None makes it an
        error.
        """
        self._notify = notify
        self._path = folder / FILE_NAME if folder else None
        self._key: RSAPrivateKey | None = None
        self._make_key = make_key
        self._lock = Lock()

    def sign(self, pending: PendingCertificate, now_s: float) -> Certificate | Failed:
        """Return a certificate of a week for the key of a CSR, or a refusal.

        Call it in a thread.

        Raises:
            KeyFileError: the signing key cannot be read or written.
        """
        key = _csr_key(pending.csr)
        if key is None:
            return Failed("request_malformed")
        identity = pending.identity
        subject = [
            x509.NameAttribute(NameOID.COMMON_NAME, identity.client_id),
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, identity.tenant_id),
        ]
        begins = datetime.fromtimestamp(now_s - _BACKDATED_S, UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ISSUER)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._signing_key(), SHA256())
        )
        return Certificate(b64encode(certificate.public_bytes(Encoding.DER)).decode())

    def _signing_key(self) -> RSAPrivateKey:
        with self._lock:
            if self._key is None:
                if self._path and self._path.exists():
                    self._key = read_key(self._path)
                else:
                    self._key = (self._make_key or new_key)()
                    self._write(self._key)
            return self._key

    def _write(self, key: RSAPrivateKey) -> None:
        """Write a new key; on a full disk it stays in memory."""

        def write(path: Path | None) -> None:
            if path is not None:
                write_key(path, key)

        loss = "client certificates are signed by a key in memory, and no longer verify"
        lasting(write, self._path, self._notify, loss)


def _csr_key(csr: bytes) -> RSAPublicKey | None:
    """Return the RSA key of a correctly self-signed CSR, or None."""
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        is_signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    return key if isinstance(key, RSAPublicKey) and key.key_size in _BITS and is_signed else None
