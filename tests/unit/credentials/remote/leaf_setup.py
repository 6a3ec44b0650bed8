"""An authority of control, and a host whose clock the test moves."""

from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from msgspec.structs import replace

from openimds.credentials.keys.files import new_key
from openimds.credentials.pki.authority import CertificateAuthority
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.host_leaf_issuer import Permits, answer_leaves
from openimds.credentials.pki.leaf_requests import HeldLeaf, LeafReply, LeafRequest
from openimds.credentials.remote.host_documents import HostDocuments
from openimds.credentials.remote.host_leaves import HostLeaves
from openimds.credentials.worker import Worker
from openimds.protocol.pending import Failed, PendingDocument, Signature
from tests.unit.credentials.pki.openssl_verify import NOW_S, PUBLIC, URL
from tests.unit.credentials.remote.control_setup import AwayError

SUBJECT = LeafSubject(*PUBLIC)
HELD = HeldLeaf(*PUBLIC)
_NUMBERS = count(2)
KEYS = [new_key() for _ in range(3)]
DOCUMENT = PendingDocument(
    vm="web-1",
    version="2021-02-01",
    nonce="1234567890",
    domain=PUBLIC[0],
    region=PUBLIC[1],
    members=("nonce", "timeStamp", "vmId"),
    facts={"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6"},
)


def open_authority(folder: Path | None = None) -> CertificateAuthority:
    return CertificateAuthority.open(folder, NOW_S, public_url=URL)


class LeafHost:
    """The documents of a host, its leaves, and control's authority."""

    def __init__(
        self,
        folder: Path | None = None,
        authority: CertificateAuthority | None = None,
        **more: Any,
    ) -> None:
        self.authority = authority or open_authority()
        # Tests that share an authority share no bound of a host.
        self.name = f"host-{next(_NUMBERS)}" if authority else "host-1"
        self.now_s, self.is_away = NOW_S, False
        self.requests: list[LeafRequest] = []
        self.permits: Permits = set
        self.keys = iter(KEYS)
        self.leaves = HostLeaves(folder, lambda: next(self.keys), **more)
        self.worker = Worker()
        self.documents = HostDocuments(
            self.leaves, self.certify, self.worker, steady=lambda: self.now_s
        )

    async def certify(self, request: LeafRequest, now_s: float) -> LeafReply:
        self.requests.append(request)
        if self.is_away:
            raise AwayError("control is away")
        return answer_leaves(self.authority, self.name, request, now_s, self.permits)

    async def sign(self, pending: PendingDocument = DOCUMENT) -> str:
        """Return the signature of a document, or the key of the refusal."""
        result = await self.documents.make(pending, self.now_s)
        assert isinstance(result, Signature | Failed)
        return result.text if isinstance(result, Signature) else result.key

    def exchange(self) -> LeafRequest:
        """Ask control at once, without the event loop; return the last request."""
        request = self.leaves.request(self.now_s)
        reply = answer_leaves(self.authority, self.name, request, self.now_s, set)
        return self.exchange() if self.leaves.accept(request, reply, self.now_s) else request

    def certificate(self, subject: LeafSubject = SUBJECT) -> x509.Certificate:
        return self.leaves.leaf(subject, self.now_s).certificate


def in_region(name: str) -> LeafSubject:
    return replace(SUBJECT, region=name)
