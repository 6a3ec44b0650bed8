"""The JSON of log entries of scheduled events: admin API, stored log, webhook."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import msgspec.json
from msgspec import Meta, Raw, Struct

from openimds.errors import BAD_JSON
from openimds.facts.events import EventStatus, Trigger
from openimds.fleet.store.port import LogEntry
from openimds.parameters import camel_case
from openimds.protocol.events.event import Event
from openimds.protocol.events.state_machine import Transition

_DAMAGED = "the row of this log entry is damaged"
TIME = "time"
"""The actor of a transition that time made."""
Moment: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A time as RFC 3339."""


class EventLogLine(Struct, frozen=True, rename="camel", kw_only=True):
    """A log entry: `before` and `after` are statuses, `vms` the VMs hit."""

    number: int
    event: str
    at: Moment
    who: str
    trigger: Trigger
    before: EventStatus
    after: EventStatus
    type: str
    scope: str
    vms: tuple[str, ...]
    resources: tuple[str, ...]
    not_before: Moment
    duration_s: int
    description: str
    source: str
    incarnation: int


def date_of(at_s: float) -> str:
    """Return a time in seconds since 1970 as RFC 3339."""
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _details(event: Event) -> dict[str, object]:
    """Return the members of a log entry that come from the event."""
    return {
        "vms": event.vms,
        "resources": event.resources,
        "not_before": date_of(event.not_before_s),
        "duration_s": event.duration_s,
        "description": event.description,
        "source": event.source,
    }


def log_entry(transition: Transition, event: Event) -> LogEntry:
    """Return the log entry of a transition; `event` is the newest state of the event."""
    who = transition.who or TIME
    at = date_of(transition.at_s)
    body = {
        "event": transition.event_id,
        "at": at,
        "who": who,
        "trigger": transition.trigger,
        "before": transition.before,
        "after": transition.after,
        "type": event.event_type,
        "scope": transition.scope,
        **_details(event),
        "incarnation": transition.incarnation,
    }
    return LogEntry(0, at, who, transition.event_id, msgspec.json.encode(body))


def line(entry: LogEntry) -> bytes:
    """Return a log entry as JSON, with its number and its names in camelCase.

    Of a damaged one only the number, the event, the time and the actor are known.
    """
    try:
        members = msgspec.json.decode(entry.body, type=dict[str, Raw])
    except BAD_JSON:
        known = {"event": entry.event_id, "at": entry.at, "who": entry.who}
        return msgspec.json.encode({"number": entry.number, **known, "description": _DAMAGED})
    renamed = {camel_case(name): value for name, value in members.items()}
    return msgspec.json.encode({"number": entry.number, **renamed})
