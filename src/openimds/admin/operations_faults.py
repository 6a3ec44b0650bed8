"""The operations on faults, one row each, and their schemas, made of the rows of the effects."""

from typing import Any

from openimds.admin.operation import (
    BAD,
    CREATED,
    GONE,
    LARGE,
    NONE,
    OK,
    SLOW,
    STORE,
    UNFIT,
    Operation,
    RequestBody,
)
from openimds.facts.evidence import Mark
from openimds.facts.faults import EFFECTS, FaultParameter, ValueKind
from openimds.facts.playbooks import PLAYBOOKS
from openimds.faults.service import API, FILE
from openimds.parameters import MOST_ITEMS
from openimds.protocol.faults.input import effect_rows, playbook_rows

Json = dict[str, Any]

FAULT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_faults",
        "GET",
        "/v1/faults",
        "List the faults that are set, in the order in which they are tried.",
        {OK: RequestBody("FaultPage")},
    ),
    Operation(
        "set_faults",
        "POST",
        "/v1/faults",
        "Set a fault, or all of a playbook, from now on.",
        {CREATED: RequestBody("FaultPage")},
        (BAD, LARGE, SLOW, UNFIT, STORE),
        takes=RequestBody("FaultInput"),
    ),
    Operation(
        "clear_faults",
        "DELETE",
        "/v1/faults",
        "Clear all faults; those of the fleet file come back when it is edited.",
        {GONE: None},
        (STORE,),
    ),
    Operation(
        "clear_fault",
        "DELETE",
        "/v1/faults/{id}",
        "Clear one fault.",
        {GONE: None},
        (NONE, STORE),
    ),
    Operation(
        "list_playbooks",
        "GET",
        "/v1/playbooks",
        "List the playbooks: what happens, why clients need it, what can be said of each.",
        {OK: RequestBody("PlaybookPage")},
    ),
)

_TEXT: Json = {"type": "string"}
_WHOLE: Json = {"type": "integer"}
_NONE: Json = {"type": "null"}
_TYPES: dict[ValueKind, Json] = {
    ValueKind.TEXT: _TEXT,
    ValueKind.NUMBER: {"type": "number"},
    ValueKind.WHOLE: _WHOLE,
    ValueKind.TEXTS: {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MOST_ITEMS},
}


def fault_schemas() -> Json:
    """Return every schema by name."""
    inputs = {
        **{f"Fault_{key}": _input(effect_rows(key), "effect", key) for key in EFFECTS},
        **{f"Playbook_{key}": _input(playbook_rows(key), "playbook", key) for key in PLAYBOOKS},
    }
    known = {row.name: _schema(row) for key in EFFECTS for row in effect_rows(key)}
    fault = {
        "id": _TEXT,
        "origin": {**_TEXT, "enum": [API, FILE]},
        "begun": {**_TEXT, "format": "date-time"},
        "seen": {**_WHOLE, "description": "How many requests fitted."},
        "played": {**_WHOLE, "description": "How many of them went wrong, and connections."},
    }
    parameter = {"name": _TEXT, "sort": _TEXT, "about": _TEXT, "default": {}}
    playbook = {
        **dict.fromkeys(("playbook", "about", "why", "sources"), _TEXT),
        "evidence": {**_TEXT, "enum": [str(mark) for mark in Mark]},
        "parameters": _list_of(_object(parameter, *parameter)),
    }
    return {
        **inputs,
        "FaultInput": {"oneOf": [_named(name) for name in inputs]},
        "Fault": _object(
            {**known, "playbook": {**_TEXT, "enum": [*PLAYBOOKS]}, **fault}, "effect", *fault
        ),
        "FaultPage": _page("Fault"),
        "Playbook": _object(playbook, *playbook),
        "PlaybookPage": _page("Playbook"),
    }


def _input(rows: tuple[FaultParameter, ...], name: str, key: str) -> Json:
    """Return the schema of what is said of one effect or playbook; null is as if not said."""
    required = [row.name for row in rows if row.required]
    members = {
        row.name: _schema(row) if row.name in required else {"anyOf": [_schema(row), _NONE]}
        for row in rows
    }
    members[name] = {**_TEXT, "enum": [key]}
    return {**_object(members, *required), "additionalProperties": False}


def _schema(row: FaultParameter) -> Json:
    schema = {**_TYPES[row.sort], "description": row.about}
    if row.choices:
        schema["enum"] = [*row.choices]
    if row.least is not None:
        schema["minimum"] = row.least
    if row.most is not None:
        schema["maximum"] = row.most
    return schema


def _object(members: Json, *required: str) -> Json:
    return {"type": "object", "properties": members, "required": [*required]}


def _list_of(item: Json) -> Json:
    return {"type": "array", "items": item}


def _named(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(name: str) -> Json:
    next_of = {"type": ["string", "null"]}
    return _object({"items": _list_of(_named(name)), "next": next_of}, "items", "next")
