"""A scheduled event as a value: a request, complete, for the VMs of one scope.

A scope is a scale set's placement group, an availability set, or a VM that is in neither; sets of
one name in two resource groups are two scopes. Every
member of the scope sees the event; its `resources` name the VMs that it hits. A request that hits
VMs of several scopes becomes one event for each, as in Azure, where no document names VMs outside
its own scope.
"""

import re
from collections.abc import Iterable
from math import ceil
from typing import TypeVar

from msgspec import field

from openimds.errors import ConfigError
from openimds.facts.events import ANY, CAUSES, PLATFORM, TYPES, EventCause, EventStatus
from openimds.parameters import check_encodable, describe
from openimds.protocol.events.request import ADVISORY, EventRequest
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

T = TypeVar("T")

_GUID = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}")
_NOTICE_S = {row.name: row.notice_s for row in TYPES}


class Event(EventRequest, frozen=True, kw_only=True):
    """One event: a complete request for one scope.

    Times are seconds since 1970. `vms` are the names of the VMs that it hits in this server,
    `resources` their names in the document. The VMs in `approvals` have approved it.
    """

    event_id: str
    scope: str
    status: EventStatus
    vms: tuple[str, ...] = field(name="concerned")  # The name in the stores of 0.1.0.
    resources: tuple[str, ...]
    not_before_s: int
    duration_s: int
    life_s: float
    description: str
    source: str
    created_s: float
    started_s: float | None = None
    approvals: tuple[str, ...] = ()

    @property
    def is_advisory(self) -> bool:
        """Whether the event only advises: nothing starts it."""
        return self.event_type in ADVISORY

    @property
    def is_approved(self) -> bool:
        """Whether the VMs whose approval it needs have approved it."""
        if self.needs == ANY:
            return bool(self.approvals)
        return set(self.vms) <= set(self.approvals)

    @property
    def due_s(self) -> float | None:
        """The time that moves it on: NotBefore, or its end; None for never."""
        if self.started_s is None:
            return self.not_before_s
        return None if self.life_s < 0 else self.started_s + self.life_s


def place_of(vm: Vm) -> tuple[str, str]:
    """Return the scope of a VM, and its name among the resources.

    A set is a resource of a resource group, and its name is unique there alone (S86). A GPU VM in a
    scale set with one fault domain sees only its own events (S5); here it sees those of its set.
    """
    name, scale_set = text_at(vm, "compute.name"), text_at(vm, "compute.vmScaleSetName")
    if scale_set:
        return _scope("group", vm, scale_set, text_at(vm, "compute.placementGroupId")), name
    if vm.availability_set:
        return _scope("set", vm, vm.availability_set), name
    return own_scope(vm.name), name


def own_scope(name: str) -> str:
    """Return the scope of a VM that is in no set."""
    return f"vm:{name}"


def _scope(kind: str, vm: Vm, *names: str) -> str:
    """Return the key of a set's scope; Azure's names have no letter case."""
    parent = (text_at(vm, f"compute.{key}") for key in ("subscriptionId", "resourceGroupName"))
    # A slash inside a name must not make the scopes of two sets one.
    whole = (part.replace("%", "%25").replace("/", "%2F") for part in (*parent, *names))
    return f"{kind}:{'/'.join(whole)}".lower()


def usual(event_type: str, source: str | None = None, *, is_failure: bool = False) -> EventCause:
    """Return the row with the usual values of a type and source.

    A failure without a row of its own has the values of the type's first platform event.

    Raises:
        KeyError: there is no such type.
    """
    rows = [row for row in CAUSES if row.event_type == event_type]
    if not rows:
        raise KeyError(event_type)
    rows = [row for row in rows if row.is_failure == is_failure] or rows
    if is_failure:
        source = source or PLATFORM
    return next((row for row in rows if row.source == source), rows[0])


def prepare(
    request: EventRequest,
    event_id: str,
    scope: str,
    hits: Iterable[tuple[str, str]],
    now_s: float,
) -> Event:
    """Return the event that a checked request becomes in one scope at this time.

    `hits` are the VMs of the request that are in the scope, each with its name among the resources.
    Values that the request leaves open are the usual ones of its type and source.

    Raises:
        ConfigError: the id is no GUID, or a resource's name is no text.
    """
    if not _GUID.fullmatch(event_id.upper()):
        raise ConfigError("id", describe(event_id), "a GUID")
    vms, resources = zip(*hits, strict=True)
    for name in resources:
        check_encodable(name, "resources")
    row = usual(request.event_type, request.source, is_failure=request.is_failure)
    notice_s = _given(request.notice_s, _NOTICE_S[request.event_type])
    duration_s = _given(request.duration_s, row.duration_s)
    return Event(
        event_id=event_id.upper(),
        event_type=request.event_type,
        scope=scope,
        status=EventStatus.STARTED if request.is_failure else EventStatus.SCHEDULED,
        vms=vms,
        resources=resources,
        notice_s=request.notice_s,
        # Rounded up: the document has whole seconds, and nothing starts before its NotBefore.
        not_before_s=ceil(_given(request.not_before_s, now_s + notice_s)),
        duration_s=duration_s,
        life_s=_given(request.life_s, max(row.started_life_s, duration_s)),
        description=_given(request.description, row.description),
        source=_given(request.source, row.source),
        needs=request.needs,
        is_failure=request.is_failure,
        created_s=now_s,
        started_s=now_s if request.is_failure else None,
    )


def _given(value: T | None, usual: T) -> T:
    return usual if value is None else value
