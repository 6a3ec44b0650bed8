"""One VM of the fleet index: packed, with its limits and cached responses.

A packed VM has a few hundred bytes. It is unpacked only to render a response, and a few recent ones
stay unpacked, with their documents, for guests that walk a document a node at a time.
"""

from functools import lru_cache
from typing import Generic, TypeVar

import msgspec.msgpack
from msgspec import Struct

from openimds.facts.limits import LIMITS
from openimds.facts.versions import Catalog
from openimds.fleet.address_claims import AddressClaims
from openimds.fleet.response_cache import CachedResponses
from openimds.protocol.handle import Documents, Subject
from openimds.protocol.rate_limit import Window, window
from openimds.vm.types import Vm

R = TypeVar("R")
pack = msgspec.msgpack.Encoder(order="deterministic").encode
"""Equal VMs have equal bytes, in each process that packs them."""
_unpack = msgspec.msgpack.Decoder(Vm).decode


class Allowance(Struct, frozen=True):
    """The limits of every VM in one limiter class.

    Requests per second, burst (0: as many as one second allows), and concurrent pending requests
    (0: no limit).
    """

    rate_per_s: float
    burst: int = 0
    concurrent: int = 0


Allowances = dict[str, Allowance]
"""By limiter class. A class that is absent is not limited."""


def documented_allowances() -> Allowances:
    """Return the limits that Azure documents."""
    return {key: Allowance(row.per_s, concurrent=row.concurrent) for key, row in LIMITS.items()}


def unpack(packed: bytes) -> Vm:
    """Return the VM of an entry's packed bytes."""
    return _unpack(packed)


MOST_RECENT = 16
"""So many VMs stay unpacked, with their documents: guests that walk a document, one node a request.

More would not help a fleet that boots at once, and would make its first answers touch more memory.
"""

recent = lru_cache(maxsize=MOST_RECENT)(_unpack)
"""As `unpack`, and the same object for VMs that send new requests again and again."""


@lru_cache(maxsize=MOST_RECENT)
def _documents(_name: str) -> Documents:
    """Return the cache of completed documents for the subjects of a VM; see `Subject`."""
    return {}


class PackedVm(Struct, frozen=True, array_like=True):
    """A VM as an entry stores it."""

    name: str
    packed: bytes
    claims: AddressClaims


class VmEntry(Generic[R]):
    """One VM in the fleet index, with its limits and its cached responses."""

    __slots__ = ("_packed", "_under_way", "_windows", "claims", "name", "responses")

    def __init__(self, vm: PackedVm) -> None:
        """Start with full limits and without responses."""
        self.name, self._packed, self.claims = vm.name, vm.packed, vm.claims
        self.responses: CachedResponses[R] = CachedResponses()
        self._windows: dict[str, Window] | None = None
        self._under_way: dict[str, int] | None = None

    def replace(self, vm: PackedVm) -> None:
        """Replace the VM; its limits keep their counts."""
        self._packed, self.claims = vm.packed, vm.claims

    @property
    def vm(self) -> Vm:
        """The VM, unpacked."""
        return _unpack(self._packed)

    @property
    def packed(self) -> bytes:
        """The packed VM: the same object until the VM changes; see `unpack`."""
        return self._packed

    def subject(self, catalog: Catalog, secret: str = "") -> Subject:
        """Return the subject for `protocol.handle`; `secret` authenticates the VM's callers."""
        return Subject(recent(self._packed), catalog, secret, _documents(self.name))

    def grants(self, limit: str, allowances: Allowances, now_s: float) -> bool:
        """Tell whether a limiter class allows a request now, and count it if so."""
        windows = self._windows
        if windows is None:
            windows = self._windows = {}
        counted = windows.get(limit)
        if counted is None:
            allowance = allowances.get(limit)
            if allowance is None:
                return True
            counted = windows[limit] = window(limit, allowance.rate_per_s, allowance.burst)
        return counted.grants(now_s)

    def refund(self, limit: str) -> None:
        """Take back the last request that a limiter class allowed."""
        if self._windows and limit in self._windows:
            self._windows[limit].refund()

    def begin(self, limit: str, allowances: Allowances) -> bool:
        """Tell whether a limiter class allows another pending request; count it if so."""
        counts = self._under_way
        if counts is None:
            counts = self._under_way = {}
        count = counts.get(limit, 0)
        allowance = allowances.get(limit)
        if allowance and 0 < allowance.concurrent <= count:
            return False
        counts[limit] = count + 1
        return True

    def end(self, limit: str) -> None:
        """Count one pending request less; call it once for each `begin` that returned True."""
        assert self._under_way is not None
        self._under_way[limit] -= 1
