"""Scheduled events in the words of the admin API, of the log and of the hook."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import msgspec.json
from msgspec import Meta, Raw, Struct

from openimds.errors import ConfigError
from openimds.facts.events import EventStatus, Trigger
from openimds.fleet.store.port import LogEntry
from openimds.parameters import camel_case
from openimds.protocol.events.event import Event
from openimds.protocol.events.state_machine import Transition

Moment: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A time as RFC 3339."""
TIME = "time"
"""Who it was when nobody did it."""


class EventLogLine(Struct, frozen=True, rename="camel", kw_only=True):
    """A step of a scheduled event. `before` and `after` are its statuses, `vms` those it hits."""

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
    """Return a time as RFC 3339."""
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def seconds_of(text: str, where: str) -> float:
    """Return the seconds since 1970 of a time as RFC 3339.

    Raises:
        ConfigError: it is none, or has no zone.
    """
    expected = "a time with its zone, such as 2026-11-22T19:54:46Z"
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ConfigError(where, f'"{text}"', expected)
        return at.timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(where, f'"{text}"', expected) from None


def _facts(event: Event) -> dict[str, object]:
    """Return what an event says of itself, to its operator and in the log."""
    return {
        "vms": event.concerned,
        "resources": event.resources,
        "not_before": date_of(event.not_before_s),
        "duration_s": event.duration_s,
        "description": event.description,
        "source": event.source,
    }


def log_entry(transition: Transition, event: Event) -> LogEntry:
    """Return the line of the log for a transition; `event` is the newest that is known of it."""
    who = transition.who or TIME
    at = date_of(transition.at_s)
    said = {
        "event": transition.event_id,
        "at": at,
        "who": who,
        "trigger": transition.trigger,
        "before": transition.before,
        "after": transition.after,
        "type": event.event_type,
        "scope": transition.scope,
        **_facts(event),
        "incarnation": transition.incarnation,
    }
    return LogEntry(0, at, who, transition.event_id, msgspec.json.encode(said))


def line(entry: LogEntry) -> bytes:
    """Return an entry of the log as JSON, with its number and its names in camelCase."""
    members = msgspec.json.decode(entry.body, type=dict[str, Raw])
    renamed = {camel_case(name): value for name, value in members.items()}
    return msgspec.json.encode({"number": entry.number, **renamed})
