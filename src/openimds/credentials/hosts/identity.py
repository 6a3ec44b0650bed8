"""The identity of one host: its key, its certificate, and the hosts' roots.

The folder `host` of its state folder has `identity.pem` with all three, and `next.key`, the key of
a request under way: it is written before the request is sent, because control lets a join token be
used again by the same key alone. A new certificate comes with its key in one file, so that neither
is there without the other.
"""

import ssl
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from openimds.credentials.hosts.handshake import host_context
from openimds.credentials.hosts.host_certificates import (
    HostTrustError,
    half_life_s,
    is_ended,
    name_in,
    new_host_key,
)
from openimds.credentials.keys.files import read_file, write_file
from openimds.credentials.keys.holders import Holder, read_holder, write_holder
from openimds.credentials.pki.certificate_info import is_issued_by, pem
from openimds.credentials.pki.revocation_register import serial_of
from openimds.private_files import open_bits

HOST = "host"
"""The folder of the state directory that holds a host's identity."""
IDENTITY, _NEXT = "identity.pem", "next.key"
_AGAIN = "let the host join again: openimds control host add NAME"
_REMEDY = f"remove it and {_AGAIN}"


class HostIdentity:
    """The key and certificate of a host; none before it has joined."""

    def __init__(self, folder: Path, holder: Holder | None) -> None:
        """Take the folder and the holder in it; see `open`."""
        self._folder, self._holder = folder, holder
        self._context: ssl.SSLContext | None = None

    @classmethod
    def open(cls, folder: Path) -> "HostIdentity":
        """Open the identity in a state folder; a host that never joined has none.

        Raises:
            KeyFileError: the file cannot be read, others may read it, or it is damaged.
        """
        path = folder / HOST / IDENTITY
        try:
            return cls(folder / HOST, read_holder(path, _REMEDY))
        except FileNotFoundError:
            return cls(folder / HOST, None)

    @property
    def name(self) -> str:
        """The name in the certificate; empty before the host has joined."""
        return (self._holder and name_in(_der(self._holder.certificate))) or ""

    @property
    def serial(self) -> str:
        """The serial number of the certificate in hexadecimal; empty before the join."""
        return serial_of(self._holder.certificate) if self._holder else ""

    @property
    def ends_s(self) -> float:
        """The end of the certificate in seconds since 1970; 0 before the join."""
        return self._holder.certificate.not_valid_after_utc.timestamp() if self._holder else 0.0

    def is_due(self, now_s: float) -> bool:
        """Tell whether to ask for a certificate, at half-life or without one."""
        if self._holder is None:
            return True
        begins_s = self._holder.certificate.not_valid_before_utc.timestamp()
        return now_s >= half_life_s(begins_s, self.ends_s)

    def has_ended(self, now_s: float) -> bool:
        """Tell whether the host has to join: it never did, or its certificate has ended."""
        return now_s >= self.ends_s

    def request(self) -> bytes:
        """Return a certificate request (PKCS 10, DER) for the next key.

        The first call makes the key; `accept` ends it.

        Raises:
            KeyFileError: the key cannot be written.
        """
        name = x509.Name([])  # Control takes the key alone.
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        return builder.sign(self._next_key(), SHA256()).public_bytes(Encoding.DER)

    def accept(self, name: str, certificate: bytes, roots: bytes, now_s: float) -> None:
        """Store the answer to `request`, and use it from now on.

        Args:
            name: the host's name.
            certificate: its certificate, DER.
            roots: the roots of the hosts' authority, PEM.
            now_s: real time in seconds since 1970.

        Raises:
            HostTrustError: it does not fit the request, or has ended by the clock of this machine.
            KeyFileError: it cannot be written; the former certificate stays in use.
        """
        key = self._next_key()
        try:
            taken = x509.load_der_x509_certificate(certificate)
            above = tuple(x509.load_pem_x509_certificates(roots))
        except ValueError:
            raise HostTrustError(
                "the certificate from control cannot be read: control may be of another release"
            ) from None
        if taken.public_key() != key.public_key() or name_in(certificate) != name:
            raise HostTrustError(
                f'the certificate from control is for "{name_in(certificate)}" or for another key, '
                f'expected host "{name}" and the key of its request'
            )
        if not any(is_issued_by(taken, root) for root in above):
            raise HostTrustError("the certificate from control is of none of the roots beside it")
        if is_ended(taken, now_s):
            raise HostTrustError(
                f"the new certificate ends at {taken.not_valid_after_utc:%F %T} UTC, which the "
                "clock of this machine has passed: set the clock"
            )
        holder = Holder(key, taken, above)
        write_holder(self._folder / IDENTITY, holder)
        self._holder, self._context = holder, None
        with suppress(OSError):  # The next request may use the key once more.
            (self._folder / _NEXT).unlink()

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a host that has joined.

        Raises:
            HostTrustError: the host has not joined.
        """
        if self._holder is None:
            raise HostTrustError(f"this host has not joined: {_AGAIN}")
        if self._context is None:
            own = Holder(self._holder.key, self._holder.certificate)
            self._context = host_context(pem([*self._holder.above]), own)
        return self._context

    def _next_key(self) -> EllipticCurvePrivateKey:
        path = self._folder / _NEXT
        # An unfit key is replaced: nothing was issued for it.
        with suppress(FileNotFoundError, ValueError, TypeError):
            text, status = read_file(path)
            key = load_pem_private_key(text, None)
            if isinstance(key, EllipticCurvePrivateKey) and not open_bits(status):
                return key
        key = new_host_key()
        write_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
