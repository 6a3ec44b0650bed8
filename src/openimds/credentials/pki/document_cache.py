"""Attested documents, signed off the loop; one without a nonce serves for a few minutes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec.msgpack
from msgspec import Struct

from openimds.credentials.worker import BusyError, Worker
from openimds.protocol.attested_document import cached_until_s, payload, to_bytes
from openimds.protocol.pending import Failed, PendingDocument, Signature

if TYPE_CHECKING:
    from openimds.credentials.pki.document_signer import DocumentSigner

MAX_DOCUMENTS = 10_000
"""AttestedDocuments kept, at most; each weighs about 4 kB."""


class _CachedDocument(Struct, frozen=True):
    need: PendingDocument
    signature: Signature
    generation: int
    made_s: float


class DocumentCache:
    """The attested documents of all VMs. Called on the event loop."""

    def __init__(
        self,
        document_signer: "Callable[[float], DocumentSigner]",
        generation: Callable[[], int],
        worker: Worker,
        most: int = MAX_DOCUMENTS,
    ) -> None:
        """Begin without documents; keep at most so many.

        `document_signer` may take long the first time, and is called in a thread. `generation`
        tells by another number that what signs has been replaced.
        """
        self.made = 0
        self._notary, self._worker, self._most = document_signer, worker, most
        self._edition = generation
        self._held: OrderedDict[tuple[str, str], _CachedDocument] = OrderedDict()
        self._nonces: dict[str, str] = {}

    def cached(self, need: PendingDocument, now_s: float) -> Signature | None:
        """Return the signature that is kept: never for a nonce, never of other facts."""
        held = self._held.get((need.vm, need.version))
        is_good = (
            held
            and held.need == need
            and held.generation == self._edition()
            # A clock that was set back finds documents that are not yet made.
            and held.made_s <= now_s < held.signature.until_s
        )
        return held.signature if held and is_good and not need.is_once else None

    async def make(self, need: PendingDocument, now_s: float) -> Signature | Failed:
        """Return a new signature, and keep it if it is for no nonce; say so if there are too many.

        Raises:
            KeyFileError: a key or a certificate could not be written.
        """
        earlier = self._earlier_nonce(need)
        generation = self._edition()
        key = ("document", generation, msgspec.msgpack.encode(need), earlier)
        try:
            text = await self._worker.run(key, lambda: self.sign(need, now_s, earlier))
        except BusyError:
            return Failed("throttled")
        signature = Signature(text, cached_until_s(now_s))
        self.made += 1
        if not need.is_once:
            self._held[need.vm, need.version] = _CachedDocument(need, signature, generation, now_s)
            self._held.move_to_end((need.vm, need.version))
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return signature

    def sign(self, need: PendingDocument, now_s: float, earlier_nonce: str = "") -> str:
        """Return a signature in base64. This takes a while: call it in a thread.

        Raises:
            KeyFileError: as `make`.
        """
        # Imported here: a server whose VMs never ask does not load what makes certificates.
        from openimds.credentials.pki.invalid_documents import invalid_payload  # noqa: PLC0415 - see above

        said = payload(need, now_s)
        if need.scenario:
            said = invalid_payload(said, need.scenario, now_s, earlier_nonce)
        document_signer = self._notary(now_s)
        return document_signer.document(
            to_bytes(said), need.domain, need.region, now_s, need.scenario
        )

    def _earlier_nonce(self, need: PendingDocument) -> str:
        """Return the nonce of the VM's earlier request where a stale one is wanted."""
        if need.scenario != "stale-nonce" or not need.nonce:
            return ""
        earlier = self._nonces.get(need.vm, "")
        self._nonces[need.vm] = need.nonce
        return earlier
