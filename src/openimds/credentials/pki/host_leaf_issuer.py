"""Control's leaves for the keys of hosts, each below the intermediate in use.

The answer depends on the leaves that a host names, on its VMs, and on nothing that control
remembers of it. So a host that asks every minute follows a new intermediate, a rehearsal and a
revocation, even if it was away when they began.
"""

from collections.abc import Callable, Container, Iterable
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificate_info import is_issued_by
from openimds.credentials.pki.certificates import DOMAINS, Issuer, LeafSubject
from openimds.credentials.pki.host_leaf_register import MAX_KEPT_PER_HOST, MAX_PER_HOST
from openimds.credentials.pki.leaf_requests import HeldLeaf, LeafReply, LeafRequest
from openimds.credentials.pki.leaves import HOST_DAYS
from openimds.errors import Error

_BITS = (2048, 3072, 4096)


class LeafRequestError(Error):
    """A host's request for leaves that control does not answer."""


Permits: TypeAlias = Callable[[Iterable[LeafSubject]], Container[LeafSubject]]
"""Returns those of some subjects for which a host may have leaves."""


def answer_leaves(
    authority: CertificateAuthority,
    host: str,
    request: LeafRequest,
    now_s: float,
    permits: Permits,
) -> LeafReply:
    """Return the certificates that a host lacks. Call it in a thread.

    `permits` is asked for leaves alone that are absent, due or of another issuer. One that it does
    not allow stays as it is, or absent: the last VM for it may have left the host a moment ago.

    Raises:
        LeafRequestError: the request asks for too much, or for a subject or key that is unfit.
        FullRegisterError: the register of leaves has no room.
        KeyFileError: the intermediate has expired, and a new one cannot be written; or the store
            does not take the new leaves.
    """
    if len(request.leaves) > MAX_PER_HOST:
        raise _refusal(host, f"{len(request.leaves)} leaves", f"{MAX_PER_HOST} at most")
    key = _key(host, request.public_key)
    held = [_certificate(host, leaf) for leaf in request.leaves]
    if any(one and authority.leaves.has_retired_key(one, now_s) for one in held):
        return LeafReply(wants_new_key=True)
    subjects = [LeafSubject(leaf.domain, leaf.region, leaf.days) for leaf in request.leaves]
    lacking = [
        subject
        for leaf, subject, certificate in zip(request.leaves, subjects, held, strict=True)
        if _is_lacking(leaf, certificate, authority.issuer_of(leaf.region, now_s))
    ]
    if not lacking:
        return LeafReply((b"",) * len(held))
    permitted = permits(lacking)  # Without the lock: it may look at all VMs of the host.
    with authority.lock:  # No revocation comes between a leaf and its entry in the register.
        answers: list[bytes] = []
        new: list[tuple[x509.Certificate, Issuer]] = []
        for leaf, subject, certificate in zip(request.leaves, subjects, held, strict=True):
            issuer = authority.issuer_of(leaf.region, now_s)
            if not _is_lacking(leaf, certificate, issuer) or subject not in permitted:
                answers.append(b"")
                continue
            if authority.leaves.count_of(host, now_s) + len(new) >= MAX_KEPT_PER_HOST:
                seen = f"a further leaf beside {MAX_KEPT_PER_HOST} valid ones"
                raise _refusal(
                    host, seen, "fewer: revoke those of this host, or wait for their end"
                )
            made = authority.leaves.certify(key, subject, now_s, issuer, host)
            new.append((made, issuer))
            answers.append(made.public_bytes(Encoding.DER))
        authority.leaves.note_of_host(host, new, now_s)
    return LeafReply(tuple(answers))


def _is_lacking(leaf: HeldLeaf, certificate: x509.Certificate | None, issuer: Issuer) -> bool:
    """Tell whether a leaf is absent, due, or of another issuer."""
    return leaf.is_due or not certificate or not is_issued_by(certificate, issuer.certificate)


def _key(host: str, octets: bytes) -> RSAPublicKey:
    try:
        key = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        raise _refusal(host, "a key that cannot be read", "an RSA public key in DER") from None
    if not isinstance(key, RSAPublicKey) or key.key_size not in _BITS:
        raise _refusal(host, "a key of another kind", f"RSA of one of {_BITS} bits")
    return key


def _certificate(host: str, leaf: HeldLeaf) -> x509.Certificate | None:
    """Return the certificate of a leaf, or None if a new one is wanted."""
    if leaf.domain not in DOMAINS:
        raise _refusal(host, f'the domain "{leaf.domain[:64]}"', "a metadata domain")
    if not 0 <= leaf.days <= HOST_DAYS:
        raise _refusal(host, f"a life of {leaf.days} days", f"0 to {HOST_DAYS}")
    if not leaf.certificate:
        return None
    try:
        return x509.load_der_x509_certificate(leaf.certificate)
    except (ValueError, x509.InvalidVersion):
        raise _refusal(host, "a leaf that cannot be read", "a certificate in DER") from None


def _refusal(host: str, seen: str, expected: str) -> LeafRequestError:
    return LeafRequestError(f"host {host}: a request for leaves has {seen}, expected {expected}")
