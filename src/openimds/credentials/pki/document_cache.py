"""The cache of attested documents: one without a nonce is reused for a few minutes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec.msgpack
from msgspec import Struct

from openimds.credentials.worker import BusyError, Worker
from openimds.protocol.attested_document import cached_until_s, payload, to_bytes
from openimds.protocol.pending import Failed, PendingDocument, Signature

MAX_DOCUMENTS = 10_000
"""The most cached documents; each weighs about 4 kB."""


class SignsDocuments(Protocol):
    """A signer of attested documents, called in a thread."""

    def document(  # noqa: PLR0913, PLR0917 - the facts of one document
        self,
        payload: bytes,
        domain: str,
        region: str,
        now_s: float,
        scenario: str = "",
        days: int = 0,
    ) -> str:
        """Return the signature of a document in base64; see `DocumentSigner.document`."""
        ...


class _CachedDocument(Struct, frozen=True):
    pending: PendingDocument
    signature: Signature
    generation: int
    made_s: float
    steady_end_s: float


class DocumentCache:
    """Signatures of the attested documents of all VMs. Called on the event loop."""

    def __init__(
        self,
        document_signer: Callable[[float], SignsDocuments],
        generation: Callable[[], int],
        worker: Worker,
        max_documents: int = MAX_DOCUMENTS,
        *,
        steady: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Begin empty.

        `document_signer` opens the CA at its first call, in a thread. `generation` returns another
        number after each replacement of a key or certificate that signs. `steady` is a clock in
        seconds that is never set: no document is cached for longer than its life by it.
        """
        self.made = 0
        self._document_signer, self._worker = document_signer, worker
        self._generation, self._max_documents = generation, max_documents
        self._steady = steady
        self._cached: OrderedDict[tuple[str, str], _CachedDocument] = OrderedDict()
        self._nonces: dict[str, str] = {}

    def cached(self, pending: PendingDocument, now_s: float) -> Signature | None:
        """Return the cached signature of the same facts, if no nonce is wanted."""
        cached = self._cached.get((pending.vm, pending.version))
        is_valid = (
            cached
            and cached.pending == pending
            and cached.generation == self._generation()
            # After the clock was set back, a document may be of the future.
            and cached.made_s <= now_s < cached.signature.until_s
            and self._steady() < cached.steady_end_s
        )
        return cached.signature if cached and is_valid and not pending.is_once else None

    async def make(self, pending: PendingDocument, now_s: float) -> Signature | Failed:
        """Sign a document, and cache the signature unless it is for a nonce.

        Raises:
            KeyFileError: a key or certificate file cannot be written.
        """
        earlier = self._earlier_nonce(pending)
        generation = self._generation()
        key = ("document", generation, msgspec.msgpack.encode(pending), earlier)
        try:
            text = await self._worker.run(
                pending.vm, key, lambda: self.sign(pending, now_s, earlier)
            )
        except BusyError:
            return Failed("throttled")
        signature = Signature(text, cached_until_s(now_s))
        self.made += 1
        if not pending.is_once:
            steady_end_s = self._steady() + signature.until_s - now_s
            entry = _CachedDocument(pending, signature, generation, now_s, steady_end_s)
            self._cached[pending.vm, pending.version] = entry
            self._cached.move_to_end((pending.vm, pending.version))
            while len(self._cached) > self._max_documents:
                self._cached.popitem(last=False)
        return signature

    def forget_future(self, now_s: float) -> None:
        """Evict the documents that were made after this time: the clock was set back."""
        for key in [key for key, cached in self._cached.items() if cached.made_s > now_s]:
            del self._cached[key]

    def sign(self, pending: PendingDocument, now_s: float, earlier_nonce: str = "") -> str:
        """Return a signature in base64. Call it in a thread.

        Raises:
            KeyFileError: as `make`.
        """
        # Imported here: a server that attests nothing does not load cryptography.
        from openimds.credentials.pki.invalid_documents import invalid_payload  # noqa: PLC0415 - see above

        members = payload(pending, now_s)
        if pending.scenario:
            members = invalid_payload(members, pending.scenario, now_s, earlier_nonce)
        signer = self._document_signer(now_s)
        return signer.document(
            to_bytes(members),
            pending.domain,
            pending.region,
            now_s,
            pending.scenario,
            pending.leaf_days,
        )

    def _earlier_nonce(self, pending: PendingDocument) -> str:
        """Return the nonce of the VM's earlier request if a stale one is wanted."""
        if pending.scenario != "stale-nonce" or not pending.nonce:
            return ""
        earlier = self._nonces.get(pending.vm, "")
        self._nonces[pending.vm] = pending.nonce
        return earlier
