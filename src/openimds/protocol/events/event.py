"""A scheduled event as a value: what the operator declares, and what becomes of it.

An event belongs to one scope: a scale set's placement group, an availability set, or a VM that is
in neither. Every member of the scope sees it, and its `resources` say whom it hits. What hits VMs
of several scopes is several events, one for each scope, as in Azure, where no document tells of VMs
outside its own scope.
"""

import re
from collections.abc import Iterable
from math import ceil

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.events import (
    ANY,
    CAUSES,
    EVENT_SOURCES,
    NEEDS,
    PLATFORM,
    TYPES,
    EventCause,
    EventStatus,
)
from openimds.parameters import describe, nearest
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

MOST_S = 10 * 366 * 86400
"""No notice and no duration is longer: a mistake in the unit shall not look like a plan."""

UNTIL_COMPLETED_S = -1
"""As `life_s`: the event stays Started until the operator completes it."""

_GUID = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}")
_TYPES = {row.name: row for row in TYPES}
_ADVISORY = frozenset(row.name for row in TYPES if row.is_advisory)


class Event(Struct, frozen=True):
    """One event. Times are seconds since the epoch.

    `concerned` are our names of the VMs that it hits, `resources` their names in the document. The
    VMs in `approvals` have approved it. `needs` says whose approval starts it: `any` VM of the
    scope, or `all` that are concerned.
    """

    event_id: str
    event_type: str
    scope: str
    status: EventStatus
    concerned: tuple[str, ...]
    resources: tuple[str, ...]
    not_before_s: int
    duration_s: int
    life_s: float
    description: str
    source: str
    needs: str
    created_s: float
    started_s: float | None = None
    approvals: tuple[str, ...] = ()

    @property
    def is_advisory(self) -> bool:
        """Whether the event only advises: nothing starts it."""
        return self.event_type in _ADVISORY

    @property
    def is_approved(self) -> bool:
        """Whether those whose approval starts it have given it."""
        if self.needs == ANY:
            return bool(self.approvals)
        return set(self.concerned) <= set(self.approvals)

    @property
    def due_s(self) -> float | None:
        """When time alone moves it on: NotBefore, or the end of the impact; None for never."""
        if self.started_s is None:
            return self.not_before_s
        return None if self.life_s < 0 else self.started_s + self.life_s


class Declaration(Struct, frozen=True):
    """What the operator says of an event; None is for what is usual for its type and source.

    `life_s` is the time from Started until it is gone. `is_failure` is for failed hardware: the
    event is born Started.
    """

    event_id: str
    event_type: str
    scope: str
    concerned: tuple[str, ...]
    resources: tuple[str, ...] = ()
    notice_s: float | None = None
    duration_s: int | None = None
    life_s: float | None = None
    description: str | None = None
    source: str | None = None
    needs: str = ANY
    is_failure: bool = False


def scope_of(vm_name: str, availability_set: str, scale_set: str, placement_group: str) -> str:
    """Return the key of the scope that a VM belongs to; Azure's names have no letter case.

    A GPU VM in a scale set with one fault domain sees only its own events (S5): pass neither set.
    """
    if scale_set:
        return f"group:{scale_set}/{placement_group}".lower()
    if availability_set:
        return f"set:{availability_set}".lower()
    return f"vm:{vm_name}"


def place_of(vm: Vm) -> tuple[str, str]:
    """Return the scope of a VM, and its name among the resources."""
    paths = ("compute.name", "compute.vmScaleSetName", "compute.placementGroupId")
    name, *sets = (text_at(vm, path) for path in paths)
    return scope_of(vm.name, vm.availability_set, *sets), name


def usual(event_type: str, source: str | None = None, *, is_failure: bool = False) -> EventCause:
    """Return the row whose values an event has when nothing else is said.

    A failure that no row tells of has the values of the type's first platform event.

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


def prepare(said: Declaration, now_s: float) -> Event:
    """Return the event that a declaration makes at this time.

    Raises:
        ConfigError: the declaration cannot be an event.
    """
    check(said)
    row = usual(said.event_type, said.source, is_failure=said.is_failure)
    notice_s = _TYPES[said.event_type].notice_s if said.notice_s is None else said.notice_s
    duration_s = row.duration_s if said.duration_s is None else said.duration_s
    return Event(
        event_id=said.event_id.upper(),
        event_type=said.event_type,
        scope=said.scope,
        status=EventStatus.STARTED if said.is_failure else EventStatus.SCHEDULED,
        concerned=said.concerned,
        resources=said.resources or said.concerned,
        # Rounded up: the document has whole seconds, and nothing starts before what it says.
        not_before_s=ceil(now_s + notice_s),
        duration_s=duration_s,
        life_s=max(row.started_life_s, duration_s) if said.life_s is None else said.life_s,
        description=row.description if said.description is None else said.description,
        source=said.source or row.source,
        needs=said.needs,
        created_s=now_s,
        started_s=now_s if said.is_failure else None,
    )


def check(said: Declaration) -> None:
    """Check that a declaration can be an event.

    Raises:
        ConfigError: it cannot; the text says which part, and what would be right.
    """
    _check_word("type", said.event_type, _TYPES)
    _check_word("source", EVENT_SOURCES[0] if said.source is None else said.source, EVENT_SOURCES)
    _check_word("needs", said.needs, NEEDS)
    if not _GUID.fullmatch(said.event_id.upper()):
        raise ConfigError("id", describe(said.event_id), "a GUID")
    if not said.concerned:
        raise ConfigError("vms", "no VM", "the names of one or more VMs")
    if said.is_failure and said.event_type in _ADVISORY:
        raise ConfigError(
            "type", describe(said.event_type), "a type that starts", "It only advises"
        )
    _check_span("notice_s", said.notice_s, 0)
    _check_span("duration_s", said.duration_s, -1)
    _check_span("life_s", said.life_s, UNTIL_COMPLETED_S)
    for text in (said.description or "", *said.resources):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ConfigError("text", "half of a surrogate pair", "text that UTF-8 can carry")


def _check_word(where: str, word: str, words: Iterable[str]) -> None:
    if word not in words:
        raise ConfigError(where, describe(word), "one of " + ", ".join(words), nearest(word, words))


def _check_span(where: str, span_s: float | None, least_s: int) -> None:
    if span_s is not None and not least_s <= span_s <= MOST_S:
        raise ConfigError(where, describe(span_s), f"seconds from {least_s} to {MOST_S}")
