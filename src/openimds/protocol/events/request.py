"""The operator's request for scheduled events: its members, their rows, their checks."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.events import ANY, EVENT_SOURCES, NEEDS, TYPES
from openimds.parameters import (
    DURATION,
    MOST_ITEMS,
    Parameter,
    describe,
    parse_time,
    read_fields,
    read_value,
)

MOST_S = 10 * 366 * 86400
"""The longest notice and duration: a mistake in the unit cannot pass for an event."""
UNTIL_COMPLETED_S = -1
"""As `life_s`: the event stays Started until the operator completes it."""
ADVISORY = frozenset(row.name for row in TYPES if row.is_advisory)
"""The types whose events only advise: nothing starts them."""


class EventRequest(Struct, frozen=True):
    """A request for an event; None stands for the usual value of the type.

    NotBefore is `notice_s` after the request, or at `not_before_s` (seconds since 1970).
    `duration_s` is the DurationInSeconds shown to guests, -1 for unknown. `life_s` is how long a
    started event stays listed, -1 until it is completed. `needs` says whose approval starts the
    event: `any` VM of the scope, or `all` that it hits. `is_failure` is failed hardware: the event
    is Started from the beginning.
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


SHARED: tuple[Parameter, ...] = (
    Parameter("type", str, "The type.", choices=tuple(row.name for row in TYPES), required=True),
    Parameter(
        "vms",
        tuple,
        "The names of the VMs that the event hits.",
        minimum=1,
        maximum=MOST_ITEMS,
        required=True,
    ),
    Parameter(
        "duration_s",
        int,
        "DurationInSeconds shown to guests; -1 is unknown.",
        minimum=-1,
        maximum=MOST_S,
        metavar=DURATION,
    ),
    Parameter(
        "life_s",
        float,
        "Time that a started event stays listed; -1 until it is completed.",
        minimum=UNTIL_COMPLETED_S,
        maximum=MOST_S,
        metavar=DURATION,
    ),
    Parameter("description", str, "Default: Azure's text for this type.", metavar="TEXT"),
    Parameter("source", str, "The origin shown to guests.", choices=EVENT_SOURCES),
    Parameter("needs", str, "The VMs whose approval starts the event.", choices=NEEDS),
)
"""The members that a request and a line of a scenario share."""

REQUEST: tuple[Parameter, ...] = (
    *SHARED,
    Parameter(
        "in_s",
        float,
        "Notice before NotBefore.",
        minimum=0,
        maximum=MOST_S,
        metavar=DURATION,
    ),
    Parameter("not_before", str, "NotBefore itself.", metavar="TIME", convert=parse_time),
    Parameter("failure", bool, "Failed hardware: the event is Started from the beginning."),
)
"""The members of a request."""

_FIELDS = {
    "type": "event_type",
    "in_s": "notice_s",
    "not_before": "not_before_s",
    "failure": "is_failure",
    "at_s": "first_s",
}
"""The fields of members that have another name in the structs."""


def read_request(value: object, where: str = "") -> EventRequest:
    """Read a request; whether its time has passed is for `check_request`.

    Raises:
        ConfigError: with the path of the mistake, such as `type`.
    """
    return EventRequest(**fields_of(read_fields(REQUEST, value, where)))


def check_request(request: EventRequest, now_s: float) -> None:
    """Check that a request can become an event now.

    Raises:
        ConfigError: it cannot; `where` is the member as in a request's body.
    """
    for row in REQUEST:
        value = getattr(request, _FIELDS.get(row.name, row.name))
        if value is not None and row.convert is None:
            read_value(row, value)
    if request.is_failure and request.event_type in ADVISORY:
        seen, hint = describe(request.event_type), "It only advises"
        raise ConfigError("type", seen, "a type that starts", hint)
    if request.not_before_s is None:
        return
    if request.notice_s is not None:
        raise ConfigError("not_before", "both not_before and in_s", "one of the two")
    left_s = request.not_before_s - now_s
    if not 0 <= left_s <= MOST_S:
        seen = f"a time {-left_s:.0f} s ago" if left_s < 0 else f"a time {left_s:.0f} s ahead"
        raise ConfigError("not_before", seen, f"a time to come, at most {MOST_S} s ahead")


def fields_of(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a struct by the members of its body."""
    return {_FIELDS.get(name, name): value for name, value in members.items()}
