"""Scheduled events in the words of the admin API, of the log and of the hook."""

from datetime import UTC, datetime

import msgspec.json

from openimds.errors import ConfigError
from openimds.fleet.store.port import LogEntry
from openimds.protocol.events.event import Event
from openimds.protocol.events.state_machine import Transition

TIME = "time"
"""Who it was when nobody did it."""


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


def view(event: Event) -> dict[str, object]:
    """Return an event as the admin API shows it."""
    started_s = event.started_s
    return {
        "id": event.event_id,
        "type": event.event_type,
        "status": event.status,
        "scope": event.scope,
        **_facts(event),
        "needs": event.needs,
        "approvals": event.approvals,
        "approved": event.is_approved,
        "created": date_of(event.created_s),
        "started": None if started_s is None else date_of(started_s),
    }


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


def line(one: LogEntry) -> bytes:
    """Return a happening as JSON with its number in front."""
    return b'{"number":%d,' % one.number + one.body[1:]
