"""The JSON schemas of scheduled events, scenarios and the clock, made of the rows."""

from typing import Any

from openimds.events.clock import CLOCK
from openimds.facts.events import EVENT_SOURCES, NEEDS, TYPES, EventStatus, Trigger
from openimds.protocol.events.input import MOST_PLANS, MOST_VMS, PLAN, WISH, MemberKind

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_MOMENT: Json = {"type": "string", "format": "date-time"}
_LATER: Json = {"type": ["string", "null"], "format": "date-time"}
_NAMES: Json = {"type": "array", "items": _TEXT}
_SORTS: dict[MemberKind, Json] = {
    MemberKind.TEXT: _TEXT,
    MemberKind.NUMBER: _NUMBER,
    MemberKind.WHOLE: {"type": "integer"},
    MemberKind.TRUTH: {"type": "boolean"},
    MemberKind.NAMES: {**_NAMES, "minItems": 1, "maxItems": MOST_VMS},
}
_WORDS: Json = {
    "type": {"type": "string", "enum": [row.name for row in TYPES]},
    "source": {"type": "string", "enum": [*EVENT_SOURCES]},
    "needs": {"type": "string", "enum": [*NEEDS]},
    "not_before": _MOMENT,
    "now": _MOMENT,
}
_STATUS: Json = {"type": "string", "enum": [str(one) for one in EventStatus]}
_SHARED: Json = {
    "type": _WORDS["type"],
    "scope": _TEXT,
    "vms": _NAMES,
    "resources": _NAMES,
    "not_before": _MOMENT,
    "duration_s": {"type": "integer"},
    "description": _TEXT,
    "source": _WORDS["source"],
}
_EVENT: Json = {
    "id": _TEXT,
    "status": _STATUS,
    **_SHARED,
    "needs": _WORDS["needs"],
    "approvals": _NAMES,
    "approved": {"type": "boolean"},
    "created": _MOMENT,
    "started": _LATER,
}
_HAPPENING: Json = {
    "number": {"type": "integer"},
    "event": _TEXT,
    "at": _MOMENT,
    "who": _TEXT,
    "trigger": {"type": "string", "enum": [str(one) for one in Trigger]},
    "before": _STATUS,
    "after": _STATUS,
    **_SHARED,
    "incarnation": {"type": "integer"},
}
_RUN: Json = {"type": _WORDS["type"], "vms": _NAMES, "next": _LATER}


def _object(members: Json, *required: str) -> Json:
    return {"type": "object", "properties": members, "required": [*required]}


def _list_of(item: Json, **bounds: int) -> Json:
    return {"type": "array", "items": item, **bounds}


def _input(sorts: dict[str, MemberKind], *required: str) -> Json:
    members = {name: _WORDS.get(name, _SORTS[sort]) for name, sort in sorts.items()}
    # Null is as if the member were not there.
    none: Json = {"type": "null"}
    members = {
        name: one if name in required else {"anyOf": [one, none]} for name, one in members.items()
    }
    return {**_object(members, *required), "additionalProperties": False}


def _page(name: str) -> Json:
    items = _list_of({"$ref": f"#/components/schemas/{name}"})
    return _object({"items": items, "next": {"type": ["string", "null"]}}, "items", "next")


def event_schemas() -> Json:
    """Return every schema by name."""
    scenario = {"name": _TEXT, "begun": _MOMENT, "events": _list_of(_object(_RUN, *_RUN))}
    lines = _list_of(_input(PLAN, "type", "vms"), minItems=1, maxItems=MOST_PLANS)
    wanted = _object({"name": _TEXT, "events": lines}, "events")
    clock = {"now": _MOMENT, "offset_s": _NUMBER, "rate": _NUMBER, "virtual": {"type": "boolean"}}
    return {
        "Event": _object(_EVENT, *_EVENT),
        "EventPage": _page("Event"),
        "EventInput": _input(WISH, "type", "vms"),
        "Happening": _object(_HAPPENING, *_HAPPENING),
        "HappeningPage": _page("Happening"),
        "Scenario": _object(scenario, *scenario),
        "ScenarioPage": _page("Scenario"),
        "ScenarioInput": {**wanted, "additionalProperties": False},
        "Clock": _object(clock, *clock),
        "ClockInput": _input(CLOCK),
    }
