"""Certificate requests, hosts that joined, and handshakes without sockets."""

import ssl
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.host_certificates import HostCertificate, key_in_request
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.hosts.join_token import read_join_token
from openimds.credentials.hosts.joining import JoinRequest, JoinResult, join_host
from openimds.credentials.hosts.register import HostRegister

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0


def csr_of(key: CertificateIssuerPrivateKeyTypes | None = None, common: str = "ignored") -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def signed(ca: HostsCa, name: str, now_s: float) -> HostCertificate:
    return ca.sign(name, key_in_request(csr_of()), now_s)


def joined(ca: HostsCa, folder: Path, name: str, now_s: float) -> tuple[HostIdentity, JoinResult]:
    """Invite a host and let it join; return its identity and the result of control."""
    register, text = HostRegister().invite(name, now_s, ca.fingerprint, is_admin=True)
    identity, token = HostIdentity.open(folder), read_join_token(text)
    request = JoinRequest(name, token.secret, identity.request())
    result = join_host(register, ca, request, now_s)
    assert result.certificate
    identity.accept(name, result.certificate.der, result.roots, now_s)
    return identity, result


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext
) -> tuple[bytes | None, bytes | None]:
    """Play a handshake in memory; return the certificates of control and of the host.

    Raises:
        ssl.SSLError: an end refuses the other.
    """
    host, control = connect(server, client)
    return host.getpeercert(binary_form=True), control.getpeercert(binary_form=True)


def connect(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return the two ends of a connection in memory after their handshake: host, control."""
    down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
    host = client.wrap_bio(down, up, server_hostname="control.example")
    control = server.wrap_bio(up, down, server_side=True)
    is_done = {host: False, control: False}
    for _ in range(6):
        for end in (host, control):
            if not is_done[end]:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
                    is_done[end] = True
    assert all(is_done.values())
    return host, control
