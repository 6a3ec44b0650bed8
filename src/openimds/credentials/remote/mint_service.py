"""Control's answers to hosts: credentials of the VMs placed on each host.

A host is believed nothing about a VM but that a guest asked: control compares each request with its
own record of the VM and of the faults set for it. So a stolen host gets the tokens of its own VMs
and no others, leaves for their regions alone, and nothing forged that no operator has asked for.
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from msgspec import structs

from openimds.credentials.pki.leaf_requests import LeafReply, LeafRequest
from openimds.credentials.remote.asked_tokens import AskedTokens
from openimds.credentials.remote.placed_vm import (
    ATTESTED_FAULT,
    FORGED_FAULT,
    AsksFor,
    PlacedVm,
    Placement,
)
from openimds.credentials.service import CredentialsService
from openimds.facts.confidential import AMD_PRODUCTS, REPORT_BYTES, Processor
from openimds.protocol.pending import (
    AccessToken,
    Failed,
    Pending,
    PendingCertificate,
    PendingDocument,
    PendingEndorsement,
    PendingQuote,
    PendingToken,
    Result,
)
from openimds.vm.identities import ENTRA, FORGE, Principal

if TYPE_CHECKING:  # It loads cryptography.
    from openimds.credentials.remote.leaf_permits import LeafPermits

REUSED = 0.75
"""The part of its life that a token of Entra has left while it is given again: a host that comes
back fetches none anew, and one that wants a successor at half-life gets one."""
CONTROL_SIGNS = frozenset(
    {"expired-leaf", "unknown-intermediate", "revoked-leaf", "new-intermediate", "new-root"}
)
"""The scenarios of attested documents whose leaf is below an issuer of control, or spoilt by it."""
_PRODUCTS = frozenset(row.name for row in AMD_PRODUCTS.values())
_NOT_PLACED, _NO_IDENTITY = Failed("server_error"), Failed("identity_not_found")


class MintService:
    """Makes credentials for hosts. Called on control's event loop."""

    def __init__(
        self,
        credentials: CredentialsService,
        placement: Placement,
        names_on: Callable[[str], Iterable[str]],
        asks_for: AsksFor,
    ) -> None:
        """Make credentials by a service, for the VMs of `placement`.

        `names_on` returns the names of the VMs on a host, `asks_for` tells of faults set for a VM.
        """
        self._credentials, self._placement = credentials, placement
        self._names_on, self._asks_for = names_on, asks_for
        self._asked = AskedTokens()
        self._permits: LeafPermits | None = None

    async def mint(self, host: str, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token for a VM of a host; a refusal for others.

        Raises:
            KeyFileError: the first key cannot be written.
        """
        vm = self._placement(host, pending.vm)
        if vm is None:
            return _NOT_PLACED
        if pending.cloud != vm.cloud or not self._has(vm, pending.vm, pending.identity):
            return _NO_IDENTITY
        # The region stands in Entra's refusals and in a claim.
        own = structs.replace(pending, region=vm.region, proof="", edits=None)
        token = await self._make(own, now_s)
        if isinstance(token, AccessToken):
            self._asked.note(own, now_s)
        return token

    async def make_for(self, host: str, pending: Pending, now_s: float) -> Result:
        """Return other results for a VM of a host; a refusal for others.

        Raises:
            KeyFileError: a key or certificate file cannot be used or written.
        """
        if isinstance(pending, PendingToken):
            return await self.mint(host, pending, now_s)
        vm = self._placement(host, pending.vm)
        if vm is None:
            return _NOT_PLACED
        if isinstance(pending, PendingCertificate) and pending.identity not in vm.principals:
            return _NO_IDENTITY
        if not self._is_fit(vm, pending):
            return _NOT_PLACED
        cached = self._credentials.cached(pending, now_s)
        return cached or await self._credentials.make(pending, now_s)

    async def certify(self, host: str, request: LeafRequest, now_s: float) -> LeafReply:
        """Return the leaves that a host lacks for its own key.

        Raises:
            LeafRequestError: the request is unfit.
            KeyFileError: the certificate authority cannot be opened, or must be renewed and cannot.
            BusyError: too much work waits.
        """
        names = frozenset(self._names_on(host))  # For a thread: these change meanwhile.
        return await self._credentials.worker.run(
            f"host:{host}",
            ("leaves", host, request),
            lambda: self._leaves(host, names, request, now_s),
        )

    def _leaves(
        self, host: str, names: AbstractSet[str], request: LeafRequest, now_s: float
    ) -> LeafReply:
        # Imported here: a control that certified no host yet does not load cryptography.
        from openimds.credentials.pki.host_leaf_issuer import answer_leaves  # noqa: PLC0415 - see above
        from openimds.credentials.remote.leaf_permits import LeafPermits  # noqa: PLC0415 - see above

        if self._permits is None:
            self._permits = LeafPermits(self._placement, self._asks_for)
        permits = self._permits
        authority = self._credentials.ca.authority(now_s)
        return answer_leaves(
            authority, host, request, now_s, lambda subjects: permits.of(host, names, subjects)
        )

    def asked(self, vm: str, now_s: float) -> list[PendingToken]:
        """Return the tokens that a VM asked for in the last day."""
        return self._asked.of(vm, now_s)

    def forget_future(self, now_s: float) -> None:
        """Count no request as later than this time: the clock was set back."""
        self._asked.forget_future(now_s)

    async def _make(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        tokens = self._credentials.tokens
        if pending.identity.source != ENTRA:
            return await tokens.issue(pending, now_s)
        cached = tokens.cached(pending, now_s)
        if cached and cached.expires_s - now_s > REUSED * cached.life_s:
            return cached
        return await tokens.make(pending, now_s)

    def _has(self, vm: PlacedVm, name: str, identity: Principal) -> bool:
        """Tell whether an identity is the VM's, perhaps with tokens that a fault forges."""
        if identity in vm.principals:
            return True
        if not identity.source.startswith(FORGE):
            return False
        if not self._asks_for(name, FORGED_FAULT, identity.source.removeprefix(FORGE)):
            return False
        plain = structs.replace(identity, source="")
        return plain in [structs.replace(one, source="") for one in vm.principals]

    def _is_fit(self, vm: PlacedVm, pending: Pending) -> bool:
        """Tell whether a VM may have other work done by control than tokens."""
        match pending:
            case PendingCertificate():
                return True
            case PendingQuote():
                return vm.processor is Processor.INTEL and len(pending.report) == REPORT_BYTES
            case PendingEndorsement():
                return vm.processor is Processor.AMD and pending.product in _PRODUCTS
            case PendingDocument():
                return self._is_spoilt(vm, pending) and _is_of(vm, pending)
        return False

    def _is_spoilt(self, vm: PlacedVm, pending: PendingDocument) -> bool:
        """Tell whether the VM, or a fault set for it, asks for a document's defect."""
        scenario = pending.scenario
        return scenario in CONTROL_SIGNS and (
            scenario == vm.scenario or self._asks_for(pending.vm, ATTESTED_FAULT, scenario)
        )


def _is_of(vm: PlacedVm, pending: PendingDocument) -> bool:
    """Tell whether a document has the facts of its VM."""
    own = vm.facts, vm.domain, vm.region, vm.leaf_days
    return own == (pending.facts, pending.domain, pending.region, pending.leaf_days)
