"""Endorsements of processors and quotes for the data plane, and the roots for verifiers."""

import threading
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec.structs

from openimds.credentials.worker import BusyError, Worker
from openimds.facts.confidential import AMD_BITS, AMD_PRODUCTS, Processor
from openimds.protocol.pending import Endorsement, Failed, PendingEndorsement, PendingQuote, Quote

if TYPE_CHECKING:
    from openimds.credentials.hardware.amd import AmdAuthority
    from openimds.credentials.hardware.intel import IntelAuthority
    from openimds.credentials.pki.certificate_info import CertificateInfo

HARDWARE = "hardware"
"""The folder of the state directory with the keys that vouch for processors."""
MOST_ENDORSEMENTS = 256
"""The most cached endorsements; each weighs about 8 kB."""


class HardwareService:
    """Provides endorsements and quotes. `cached` and `make` are called on the event loop."""

    def __init__(
        self,
        folder: Path | None,
        worker: Worker,
        most_endorsements: int = MOST_ENDORSEMENTS,
        bits: int = AMD_BITS,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Store keys in a state directory; make none before the first request.

        `bits` is the size of AMD's keys. `report` takes a sentence on keys that cannot be written
        and stay in memory; None makes that an error.
        """
        self._report = report
        self._folder = folder / HARDWARE if folder else None
        self._worker, self._most, self._bits = worker, most_endorsements, bits
        self._amd: AmdAuthority | None = None
        self._intel: IntelAuthority | None = None
        self._lock = threading.Lock()
        self._endorsements: OrderedDict[PendingEndorsement, Endorsement] = OrderedDict()

    def cached(self, pending: PendingEndorsement) -> Endorsement | None:
        """Return an endorsement that was made before, or None."""
        return self._endorsements.get(_shared(pending))

    async def make(
        self, pending: PendingEndorsement | PendingQuote, now_s: float
    ) -> Endorsement | Quote | Failed:
        """Return an endorsement or a quote.

        Raises:
            KeyFileError: a key file cannot be used or written.
        """
        try:
            if isinstance(pending, PendingQuote):
                key = ("quote", pending.report)
                return await self._worker.run(pending.vm, key, lambda: self._quote(pending))
            endorsement = await self._worker.run(
                pending.vm, ("endorse", _shared(pending)), lambda: self._endorse(pending, now_s)
            )
        except BusyError:
            return Failed("throttled")
        self._endorsements[_shared(pending)] = endorsement
        while len(self._endorsements) > self._most:
            self._endorsements.popitem(last=False)
        return endorsement

    def close(self) -> None:
        """Wait for a key that is being made."""
        self._worker.close()

    def certificates(self, maker: str) -> "list[CertificateInfo]":
        """Return the CA certificates of a maker, each root behind those below it.

        The first call makes what is missing, for AMD in seconds. Call it in a thread.

        Raises:
            KeyFileError: as `make`.
        """
        from openimds.credentials.pki.certificate_info import certificate_info  # noqa: PLC0415 - as in `_authorities`

        amd, intel = self._authorities()
        if maker == Processor.AMD:
            chains = [amd.chain(product) for product in AMD_PRODUCTS.values()]
            holders = [holder for one in chains for holder in (one.signer, one.root)]
        else:
            chain = intel.chain()
            holders = [chain.platform, chain.root]
        return [certificate_info(holder.certificate, is_in_use=True) for holder in holders]

    def _endorse(self, pending: PendingEndorsement, now_s: float) -> Endorsement:
        """Certify a processor; runs in a thread."""
        from openimds.credentials.pki.certificate_info import pem  # noqa: PLC0415 - as in `_authorities`

        authority = self._authorities()[0]
        product = AMD_PRODUCTS[pending.product.lower()]
        certificate = authority.certify(product, pending.chip, pending.tcb, now_s)
        chain = authority.chain(product)
        above = [chain.signer.certificate, chain.root.certificate]
        return Endorsement(pem([certificate]).decode(), pem(above).decode())

    def _quote(self, pending: PendingQuote) -> Quote:
        """Sign a quote; runs in a thread."""
        quote = self._authorities()[1].quote(pending.report)
        return Quote(urlsafe_b64encode(quote).rstrip(b"=").decode())

    def _authorities(self) -> "tuple[AmdAuthority, IntelAuthority]":
        # Imported here: a server without confidential VMs does not load cryptography for them.
        from openimds.credentials.hardware.amd import AmdAuthority  # noqa: PLC0415 - see above
        from openimds.credentials.hardware.intel import IntelAuthority  # noqa: PLC0415 - see above

        with self._lock:
            if self._amd is None or self._intel is None:
                self._amd = AmdAuthority(self._folder, self._bits, self._report)
                self._intel = IntelAuthority(self._folder, self._report)
            return self._amd, self._intel


def _shared(pending: PendingEndorsement) -> PendingEndorsement:
    """Return the work without its VM: the same processor has the same certificate."""
    return msgspec.structs.replace(pending, vm="")
