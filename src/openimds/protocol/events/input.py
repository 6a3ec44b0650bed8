"""Events as a person wishes for them: the members of a request, and of a line of a scenario."""

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.events import ANY
from openimds.parameters import describe, nearest
from openimds.protocol.events.event import MOST_S
from openimds.protocol.events.schedule import LEAST_S, RecurringEvent, check_plan

MOST_VMS = 100_000
MOST_PLANS = 1000
_LARGE = 2**53


class MemberKind(Enum):
    """What a member may be, in words."""

    TEXT = "a string"
    NUMBER = "a number"
    WHOLE = "a whole number"
    TRUTH = "true or false"
    NAMES = "a list of VM names"


class EventRequest(Struct, frozen=True):
    """What an operator wishes to happen to VMs; None is for what is usual for the type.

    NotBefore comes `notice_s` from now, or at `not_before_s`.
    """

    event_type: str
    vms: tuple[str, ...]
    notice_s: float | None = None
    not_before_s: float | None = None
    duration_s: int | None = None
    life_s: float | None = None
    description: str | None = None
    source: str | None = None
    needs: str = ANY
    is_failure: bool = False


_SHARED: dict[str, MemberKind] = {
    "type": MemberKind.TEXT,
    "vms": MemberKind.NAMES,
    "duration_s": MemberKind.WHOLE,
    "life_s": MemberKind.NUMBER,
    "description": MemberKind.TEXT,
    "source": MemberKind.TEXT,
    "needs": MemberKind.TEXT,
}
PLAN: dict[str, MemberKind] = {
    **_SHARED,
    "at_s": MemberKind.NUMBER,
    "notice_s": MemberKind.NUMBER,
    "every_s": MemberKind.NUMBER,
    "mean_s": MemberKind.NUMBER,
    "seed": MemberKind.TEXT,
    "count": MemberKind.WHOLE,
}
"""The members of a line of a scenario."""

WISH: dict[str, MemberKind] = {
    **_SHARED,
    "in_s": MemberKind.NUMBER,
    "not_before": MemberKind.TEXT,
    "failure": MemberKind.TRUTH,
}
"""The members of a request for an event."""


def members(value: object, where: str, sorts: Mapping[str, MemberKind]) -> dict[str, object]:
    """Return the members of an object that has no others than these, each of its sort.

    Raises:
        ConfigError: an unknown name, or a value of another sort.
    """
    if not isinstance(value, dict):
        raise ConfigError(where or "body", describe(value), "a mapping of names to values")
    found = {}
    for name, one in value.items():
        path = f"{where}.{name}".lstrip(".")
        if name not in sorts:
            expected = "one of " + ", ".join(sorts)
            hint = nearest(str(name), sorts)
            raise ConfigError(where or "body", f'unknown key "{name}"', expected, hint)
        if one is None:
            continue
        if not _is(one, sorts[name]):
            raise ConfigError(path, describe(one), sorts[name].value)
        found[name] = tuple(one) if isinstance(one, list) else one
    return found


def _is(value: object, sort: MemberKind) -> bool:
    match value:
        case bool():
            return sort is MemberKind.TRUTH
        case str():
            return sort is MemberKind.TEXT
        case int():
            return sort in {MemberKind.WHOLE, MemberKind.NUMBER} and abs(value) < _LARGE
        case float():
            # Neither too large nor infinite, nor no number at all.
            return sort is MemberKind.NUMBER and abs(value) < _LARGE
        case list():
            is_fit = sort is MemberKind.NAMES and 0 < len(value) <= MOST_VMS
            return is_fit and all(isinstance(one, str) for one in value)
        case _:
            return False


def required(found: Mapping[str, object], where: str) -> None:
    """Check that a type and VMs are named.

    Raises:
        ConfigError: one of them is not.
    """
    for name in ("type", "vms"):
        if name not in found:
            raise ConfigError(where or "body", f"no {name}", f"{name} and what belongs to it")


def event_request(plan: RecurringEvent) -> EventRequest:
    """Return what a plan wishes for each time."""
    return EventRequest(
        plan.event_type,
        plan.vms,
        notice_s=plan.notice_s,
        duration_s=plan.duration_s,
        life_s=plan.life_s,
        description=plan.description,
        source=plan.source,
        needs=plan.needs,
    )


def plans(value: object, where: str = "events") -> tuple[RecurringEvent, ...]:
    """Return the lines of a scenario, their times counted from its beginning.

    Raises:
        ConfigError: with the path of the mistake, such as `events[0].type`.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_PLANS:
        raise ConfigError(where, describe(value), f"a list of at most {MOST_PLANS} events")
    return tuple(_plan(one, f"{where}[{number}]") for number, one in enumerate(value))


def _plan(value: object, where: str) -> RecurringEvent:
    found = members(value, where, PLAN)
    required(found, where)
    at_s = found.pop("at_s", 0.0)
    if isinstance(at_s, int | float) and not 0 <= at_s <= MOST_S:
        raise ConfigError(f"{where}.at_s", describe(at_s), f"seconds from 0 to {MOST_S}")
    if not {"every_s", "mean_s"} & found.keys():
        found |= {"every_s": LEAST_S, "count": 1}
    event_type = found.pop("type")
    try:
        # The sorts were checked above, member by member.
        plan = RecurringEvent(event_type=event_type, first_s=at_s, **found)  # type: ignore[arg-type]
        check_plan(plan)
    except ConfigError as error:
        path = where if error.where == "plan" else f"{where}.{error.where}"
        raise ConfigError(path, error.seen, error.expected, error.hint) from None
    return plan
