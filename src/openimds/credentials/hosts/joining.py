"""The steps of a join and of a renewal, over authority and register.

The caller stores the register of the result before it sends the certificate: one that is not stored
counts nowhere. It stores that of a refusal, too, if it differs from the one before.
"""

from msgspec import Struct

from openimds.credentials.hosts.authority import HostsCa
from openimds.credentials.hosts.host_certificates import (
    HostCertificate,
    HostKey,
    HostTrustError,
    key_bytes,
    key_in_request,
)
from openimds.credentials.hosts.register import HostRegister


class JoinResult(Struct, frozen=True):
    """The register after a request, and the certificate or the refusal's reason.

    `roots` are the trusted roots as PEM, which the host stores with its certificate.
    """

    register: HostRegister
    certificate: HostCertificate | None = None
    roots: bytes = b""
    refusal: str = ""


class JoinRequest(Struct, frozen=True):
    """The request of a new host: name, secret of its token, CSR (DER)."""

    name: str
    secret: bytes
    csr: bytes


class RenewalRequest(Struct, frozen=True):
    """The request of a joined host: name, serial number, CSR (DER).

    The first two are those of the certificate that it presented in the handshake.
    """

    name: str
    serial: str
    csr: bytes


class AdmissionRequest(Struct, frozen=True):
    """The request of a host whose node was vouched for: name, service account, CSR (DER)."""

    name: str
    account: str
    csr: bytes


def join_host(
    register: HostRegister, ca: HostsCa, request: JoinRequest, now_s: float
) -> JoinResult:
    """Answer a new host, which has no certificate yet.

    The secret is compared first, so that a caller without it costs nothing but a hash; a malformed
    CSR does not spend it.
    """
    name, secret = request.name, request.secret
    if refusal := register.refusal(name, secret, now_s):
        return JoinResult(register, refusal=refusal)
    key = _key(request.csr)
    if isinstance(key, str):
        return JoinResult(register, refusal=key)
    spent, refusal = register.spend(name, secret, key_bytes(key), now_s)
    if refusal:
        return JoinResult(spent, refusal=refusal)
    certificate = ca.sign(name, key, now_s)
    return JoinResult(spent.join(name, certificate, now_s), certificate, ca.roots(now_s))


def admit_host(
    register: HostRegister, ca: HostsCa, request: AdmissionRequest, now_s: float
) -> JoinResult:
    """Answer a host whose name the API of Kubernetes has vouched for."""
    name = request.name
    if refusal := register.admission_refusal(name, now_s):
        return JoinResult(register, refusal=refusal)
    key = _key(request.csr)
    if isinstance(key, str):
        return JoinResult(register, refusal=key)
    certificate = ca.sign(name, key, now_s)
    after = register.admit(name, request.account, certificate, now_s)
    return JoinResult(after, certificate, ca.roots(now_s))


def renew_host(
    register: HostRegister, ca: HostsCa, request: RenewalRequest, now_s: float
) -> JoinResult:
    """Answer a host that asks for its next certificate."""
    name, serial = request.name, request.serial
    if refusal := register.renewal_refusal(name, serial, now_s):
        return JoinResult(register, refusal=refusal)
    key = _key(request.csr)
    if isinstance(key, str):
        return JoinResult(register, refusal=key)
    certificate = ca.sign(name, key, now_s)
    after = register.renew(name, serial, certificate, now_s)
    return JoinResult(after, certificate, ca.roots(now_s))


def _key(csr: bytes) -> HostKey | str:
    try:
        return key_in_request(csr)
    except HostTrustError as error:
        return str(error)
