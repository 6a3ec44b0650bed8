"""Attested documents on a host: signed here by leaves that control has certified."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeAlias

from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.pki.document_cache import DocumentCache
from openimds.credentials.pki.document_signer import other_domain, sealed, sealed_tampered
from openimds.credentials.pki.leaf_requests import LeafReply, LeafRequest
from openimds.credentials.remote.host_leaves import HostLeaves, LeafMissingError
from openimds.credentials.worker import SHARED, Worker
from openimds.errors import Error
from openimds.facts.clouds import CLOUDS
from openimds.facts.kinds import KINDS
from openimds.protocol.pending import Failed, PendingDocument, Signature
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

CertifyLeaf: TypeAlias = Callable[[LeafRequest, float], Awaitable[LeafReply]]
"""Asks control for leaves at a time; raises an `Error` if control does not answer."""

CHECK_S = 60.0
"""The time between two requests to control, which see a new intermediate and a revocation."""
RETRY_S = 1.0
"""The time without a request after one that failed, in seconds."""
TIMEOUT_S = 10.0
_WRONG_CLOUD, _TAMPERED = "wrong-cloud", "tampered-payload"
_UNAVAILABLE = Failed("server_error")


class HostDocuments:
    """The attested documents of a host's guests. Called on the event loop.

    While control is away, documents are signed until their leaf ends.
    """

    def __init__(
        self,
        leaves: HostLeaves,
        certify: CertifyLeaf,
        worker: Worker,
        *,
        steady: Callable[[], float],
        life_clock: Callable[[], float] | None = None,
    ) -> None:
        """Sign with leaves that `certify` renews; clocks are as in `HostTokens`."""
        self._leaves, self._certify, self._worker = leaves, certify, worker
        self._steady = steady
        self._documents = DocumentCache(
            lambda _now_s: HostDocumentSigner(leaves),
            lambda: leaves.generation,
            worker,
            steady=life_clock or steady,
        )
        self._check_s = self._retry_s = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self.failure = ""
        """The reason why the last request to control failed, or empty."""

    def cached(self, pending: PendingDocument, now_s: float) -> Signature | None:
        """Return the cached signature of the same facts, if no nonce is wanted."""
        return self._documents.cached(pending, now_s)

    async def make(self, pending: PendingDocument, now_s: float) -> Signature | Failed:
        """Sign a document; without a valid leaf and without control, refuse it."""
        subject = _subject_of(pending)
        if not self._leaves.has(subject, now_s):
            self._leaves.demand(subject)
            is_under_way = self._asking is not None  # That request may not have the subject.
            await self._ask(now_s)
            if is_under_way and not self._leaves.has(subject, now_s):
                await self._ask(now_s)
        try:
            return await self._documents.make(pending, now_s)
        except LeafMissingError:
            return _UNAVAILABLE

    def want(self, subjects: Iterable[LeafSubject]) -> None:
        """Have leaves for the subjects of this host's VMs from the next `keep_up` on."""
        self._leaves.want(subjects)

    def ends_s(self) -> float | None:
        """Return the first end of a wanted leaf in seconds since 1970, or None."""
        return self._leaves.ends_s()

    async def keep_up(self, now_s: float) -> None:
        """Ask control for leaves that are due or wrong; call it every few seconds."""
        if self._steady() >= self._check_s or self._leaves.lacks_wanted(now_s):
            await self._ask(now_s)

    def forget_future(self, now_s: float) -> None:
        """Evict the documents that were made after this time: the clock was set back."""
        self._documents.forget_future(now_s)

    async def _ask(self, now_s: float) -> None:
        """Ask control, or await the request under way; a failure is noted, not raised."""
        if self._asking is None:
            if self._steady() < self._retry_s:
                return
            self._asking = asyncio.get_running_loop().create_task(self._run(now_s))
            self._asking.add_done_callback(self._end)
        # A cancelled guest must not cancel the request for the others.
        await asyncio.shield(self._asking)

    def _end(self, _task: "asyncio.Task[None]") -> None:
        self._asking = None

    async def _run(self, now_s: float) -> None:
        try:
            while await self._exchange(now_s):
                pass
        except (Error, TimeoutError) as error:
            self.failure = str(error) or f"no answer of control within {TIMEOUT_S:g} s"
            self._retry_s = self._steady() + RETRY_S
        else:
            self.failure, self._check_s = "", self._steady() + CHECK_S

    async def _exchange(self, now_s: float) -> bool:
        """Send a request and use its answer; tell whether to ask once more."""
        run = partial(self._worker.run, SHARED)
        request = await run("request leaves", lambda: self._leaves.request(now_s))
        reply = await asyncio.wait_for(self._certify(request, now_s), TIMEOUT_S)
        return await run("accept leaves", lambda: self._leaves.accept(request, reply, now_s))


class HostDocumentSigner:
    """Signs documents with a host's leaves, valid or as a scenario spoils them."""

    def __init__(self, leaves: HostLeaves) -> None:
        """Sign with these leaves."""
        self._leaves = leaves

    def document(  # noqa: PLR0913, PLR0917 - the facts of one document
        self,
        payload: bytes,
        domain: str,
        region: str,
        now_s: float,
        scenario: str = "",
        days: int = 0,
    ) -> str:
        """Return the signature of a document: base64 of the envelope, without line breaks.

        Raises:
            LeafMissingError: there is no valid leaf.
        """
        subject = _subject(domain, region, days, scenario)
        seal = sealed_tampered if scenario == _TAMPERED else sealed
        return b64encode(seal(payload, self._leaves.leaf(subject, now_s))).decode()


def leaf_subjects(vms: Iterable[Vm]) -> list[LeafSubject]:
    """Return the subjects of the leaves that sign the documents of VMs, each once."""
    subjects = (
        LeafSubject(
            CLOUDS[vm.cloud].domain,
            text_at(vm, "compute.location"),
            KINDS[vm.kind].leaf_days,
        )
        for vm in vms
        if CLOUDS[vm.cloud].domain  # Other clouds have no attested documents.
    )
    return [*dict.fromkeys(subjects)]


def _subject_of(pending: PendingDocument) -> LeafSubject:
    return _subject(pending.domain, pending.region, pending.leaf_days, pending.scenario)


def _subject(domain: str, region: str, days: int, scenario: str) -> LeafSubject:
    if scenario == _WRONG_CLOUD:
        return LeafSubject(other_domain(domain), region)
    return LeafSubject(domain, region, days)
