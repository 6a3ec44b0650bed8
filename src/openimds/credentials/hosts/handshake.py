"""The TLS contexts of both ends: TLS 1.3, and the hosts' own roots alone."""

import os
import secrets
import ssl
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from openimds.credentials.hosts.host_certificates import CONTROL, HostTrustError, uri_in
from openimds.credentials.keys.files import plain_reason
from openimds.credentials.keys.holders import Holder
from openimds.credentials.pki.certificate_info import pem


def server_context() -> ssl.SSLContext:
    """Return a context of control, still without roots and certificate.

    A client certificate is asked for, not demanded: a host that joins has none. No session is
    resumed, so that each connection shows its certificate.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    return context


def host_context(roots: bytes, holder: Holder | None = None) -> ssl.SSLContext:
    """Return a context of a host that accepts control alone.

    After the handshake the host calls `check_control`: a certificate of another host is none of
    control.

    Args:
        roots: the roots of the hosts' authority, PEM.
        holder: the host's key and certificate; without one, control answers a join alone.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # Control has many addresses, and one URI.
    context.verify_mode = ssl.CERT_REQUIRED
    trust(context, roots)
    if holder:
        present(context, holder)
    return context


def first_contact_context() -> ssl.SSLContext:
    """Return a context that verifies nothing, for a host that only fetches the roots.

    Nothing else may pass on its connection: `pinned_root` judges them by the fingerprint.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def check_control(certificate: bytes | None) -> None:
    """Check that the certificate (DER) of a verified peer is control's.

    Raises:
        HostTrustError: it is not.
    """
    uri = uri_in(certificate) if certificate else ""
    if uri != CONTROL:
        raise HostTrustError(
            f'the server at --control has a certificate for "{uri or "nobody"}", expected '
            f'"{CONTROL}": it is not control. Check the address'
        )


def fingerprint_of(root: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate in 64 hexadecimal digits."""
    return root.fingerprint(SHA256()).hex()


def pinned_root(roots: bytes, fingerprints: Collection[str], remedy: str) -> bytes:
    """Return the root (PEM) of a fingerprint among those that a server has sent.

    Args:
        roots: what the server has sent.
        fingerprints: those that are trusted.
        remedy: the origin of the fingerprints and what to do, for the error.

    Raises:
        HostTrustError: none has one of these fingerprints.
    """
    try:
        found = x509.load_pem_x509_certificates(roots)
    except ValueError as error:
        raise HostTrustError(
            f"the server at --control sent no certificates ({plain_reason(error)}): it is not "
            "control. Check the address"
        ) from None
    for root in found:
        if fingerprint_of(root) in fingerprints:
            return pem([root])
    raise HostTrustError(remedy)


def trust(context: ssl.SSLContext, roots: bytes) -> None:
    """Add roots (PEM) to a context."""
    context.load_verify_locations(cadata=roots.decode())


def present(context: ssl.SSLContext, holder: Holder) -> None:
    """Let a context present a certificate; a former one is replaced."""
    password = secrets.token_bytes(32)
    key = holder.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)
    )
    with _file(pem([holder.certificate, *holder.above]) + key) as path:
        context.load_cert_chain(path, password=password)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@contextmanager
def _file(octets: bytes) -> Iterator[str]:
    """Yield the path of a file for Python's ssl, which takes no certificate from memory."""
    make = getattr(os, "memfd_create", None)
    if make is None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "certificate.pem"
            path.write_bytes(octets)
            yield str(path)
        return
    with os.fdopen(make("certificate"), "wb") as file:
        file.write(octets)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
