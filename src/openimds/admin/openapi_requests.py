"""The JSON schemas of requests and of findings."""

from typing import Any

from openimds.facts.evidence import Mark
from openimds.facts.lint import RULES, Verdict

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_WHOLE: Json = {"type": "integer"}
_MOMENT: Json = {"type": "string", "format": "date-time"}
_REQUEST: Json = {
    "number": _WHOLE,
    "at": {**_MOMENT, "description": "On the clock of guests."},
    "steady_s": {"type": "number", "description": "On the clock of limits."},
    "vm": {**_TEXT, "description": "Empty for a caller who is no VM."},
    "peer": _TEXT,
    "method": _TEXT,
    "target": {**_TEXT, "description": "Secrets in it are ***."},
    "headers": {"type": "object", "additionalProperties": _TEXT},
    "endpoint": _TEXT,
    "status": _WHOLE,
    "reason": {**_TEXT, "description": "The key of the refusal; empty for an answer."},
    "size": {**_WHOLE, "description": "Bytes of the body of the answer."},
    "body": {**_TEXT, "description": "Its first bytes, where nothing in it is secret."},
    "sent": {**_TEXT, "description": "The approval of events that the request brought."},
    "token_until": {"type": ["string", "null"], "format": "date-time"},
    "fault": {**_TEXT, "description": "What was played on purpose."},
}
_EVIDENCE: Json = {
    "mark": {"type": "string", "enum": [str(one) for one in Mark]},
    "sources": {"type": "array", "items": _TEXT},
    "note": _TEXT,
}


def _object(members: Json) -> Json:
    return {"type": "object", "properties": members, "required": [*members]}


def _page(name: str) -> Json:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return _object({"items": items, "next": {"type": ["string", "null"]}})


def request_schemas() -> Json:
    """Return every schema by name."""
    finding: Json = {
        "rule": {"type": "string", "enum": [row.key for row in RULES]},
        "verdict": {"type": "string", "enum": [str(one) for one in Verdict]},
        "vm": _TEXT,
        "times": {**_WHOLE, "description": "How many requests show it."},
        "numbers": {"type": "array", "items": _WHOLE, "description": "The first of them."},
        "example": _TEXT,
        "says": {**_TEXT, "description": "What Azure does, or its documents say."},
        "evidence": _object(_EVIDENCE),
    }
    return {
        "Request": _object(_REQUEST),
        "RequestPage": _page("Request"),
        "Finding": _object(finding),
        "FindingPage": _page("Finding"),
    }
