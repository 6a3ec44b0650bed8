"""The OpenAPI document, made of the operations' rows and of the tree that input is read along."""

import re
from functools import cache
from typing import Any

from openimds import __version__
from openimds.admin.openapi_events import event_schemas
from openimds.admin.openapi_requests import request_schemas
from openimds.admin.operations import OPERATIONS, Operation, RequestBody
from openimds.admin.operations_faults import fault_schemas
from openimds.admin.problem import MEDIA
from openimds.facts.fields import FieldKind
from openimds.vm.identities import SOURCES
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Leaf, Many, Named, Node

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_NAME: Json = {**_TEXT, "minLength": 1, "maxLength": 256, "pattern": "^[^/]+$"}
_NUMBER: Json = {"type": "integer"}
_TAGS: Json = {
    "oneOf": [
        {"type": "object", "additionalProperties": _TEXT},
        {"type": "string"},
        {
            "type": "array",
            "items": {"type": "object", "properties": {"name": _TEXT, "value": _TEXT}},
        },
    ]
}
_WAYS: Json = {
    "type": "object",
    "description": "By way (app-service, arc, ...), then by the name of the variable.",
    "additionalProperties": {"type": "object", "additionalProperties": _TEXT},
}
_TYPES = {FieldKind.TEXT: "string", FieldKind.BOOLEAN: "boolean", FieldKind.NUMBER: "integer"}
READ_ONLY: Json = {
    "name": {**_TEXT, "description": "The name in the path."},
    "revision": {**_NUMBER, "readOnly": True},
    "origin": {**_TEXT, "readOnly": True, "description": "api, file, document or default."},
}


def of(node: Node) -> Json:
    """Return the JSON schema of a node."""
    match node:
        case Leaf():
            schema: Json = {"type": _TYPES[node.kind]}
            return {**schema, "enum": [*node.choices]} if node.choices else schema
        case Many():
            return {"type": "array", "items": of(node.item)}
        case Named():
            return {"type": "object", "additionalProperties": of(node.item)}
        case _:
            members = {name: of(one) for name, one in node.members.items()}
            if node.path == "compute":
                members = {**members, "tags": _TAGS, "tagsList": _TAGS}
            return {"type": "object", "properties": members, "additionalProperties": False}


def _object(members: Json, *required: str) -> Json:
    return {"type": "object", "properties": members, "required": [*required]}


def _page(item: str) -> Json:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}}
    return _object({"items": items, "next": {"type": ["string", "null"]}}, "items", "next")


def schemas() -> Json:
    """Return every schema by name."""
    vm = of(vm_tree())
    whole = {**vm, "properties": {**READ_ONLY, **vm["properties"]}}
    change = {
        "revision": _NUMBER,
        "at": {"type": "string", "format": "date-time"},
        "who": _TEXT,
        "name": _TEXT,
        "kind": {"type": "string", "enum": ["put", "remove"]},
        "origin": _TEXT,
    }
    states = {"before": {"type": ["object", "null"]}, "after": {"type": ["object", "null"]}}
    identity = {
        "vm": _TEXT,
        "kind": {"type": "string", "enum": ["system", "user"]},
        **dict.fromkeys(("clientId", "principalId", "tenantId"), _TEXT),
        "source": {"type": "string", "enum": [*SOURCES]},
        "forged": {"type": "boolean", "description": "Its tokens are bad ones, on request."},
    }
    texts = ("subject", "name", "notBefore", "notAfter", "sha256", "pem")
    certificate = {
        **dict.fromkeys(texts, _TEXT),
        "isRoot": {"type": "boolean"},
        "inUse": {"type": "boolean"},
    }
    moment = {"type": ["string", "null"], "format": "date-time"}
    key = {"kid": _TEXT, **dict.fromkeys(("began", "retired", "publishedUntil"), moment)}
    problem = {
        **dict.fromkeys(("type", "title", "detail", "where", "seen", "expected", "hint"), _TEXT),
        "status": _NUMBER,
    }
    return {
        "Vm": {**whole, "required": ["name", "revision", "origin"]},
        "VmInput": whole,
        "VmPatch": {"type": "object"},
        "VmPage": _page("Vm"),
        "Document": {"type": "object"},
        "Endpoints": _object({"vm": _TEXT, "variables": _WAYS}, "vm", "variables"),
        "Change": _object(change, *change),
        "Audit": _object({**change, **states}, *change, *states),
        "AuditPage": _page("Audit"),
        "Identity": _object({**identity, "resourceId": _TEXT}, *identity),
        "IdentityPage": _page("Identity"),
        "Certificate": _object(certificate, *certificate),
        "Certificates": _object(
            {
                "items": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Certificate"},
                },
                "bundle": {**_TEXT, "description": "PEM"},
            },
            "items",
            "bundle",
        ),
        "Key": _object(key, *key),
        "KeyPage": _page("Key"),
        **event_schemas(),
        **fault_schemas(),
        **request_schemas(),
        "TokenFile": _object({"token_file": _TEXT}, "token_file"),
        "Health": _object({"status": _TEXT}, "status"),
        "Text": _TEXT,
        "OpenApi": {"type": "object"},
        "Problem": _object(problem, "type", "title", "status", "detail"),
    }


def _content(body: RequestBody) -> Json:
    schema = {"$ref": f"#/components/schemas/{body.schema}"}
    return {media: {"schema": schema} for media in body.media}


def _operation(row: Operation) -> Json:
    path = [
        {"name": name, "in": "path", "required": True, "schema": _NAME}
        for name in re.findall(r"{(\w+)}", row.path)
    ]
    query = [
        {"name": one.name, "in": "query", "schema": one.schema, "description": one.about}
        for one in row.queries
    ]
    header = [{"name": name, "in": "header", "schema": _TEXT} for name in row.headers]
    answers: Json = {
        str(int(status)): {
            "description": row.about,
            **({"content": _content(body)} if body else {}),
        }
        for status, body in row.answers.items()
    }
    # 401 and 421 come from the guard before every operation that is not open.
    guarded = () if row.is_open else (401,)
    for status in (*row.problems, *guarded, 421):
        problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
        answers[str(int(status))] = {"description": "A problem.", "content": {MEDIA: problem}}
    found: Json = {"operationId": row.name, "summary": row.about, "responses": answers}
    if path or query or header:
        found["parameters"] = [*path, *query, *header]
    if row.takes:
        found["requestBody"] = {"required": True, "content": _content(row.takes)}
    return {**found, "security": [] if row.is_open else [{"token": []}]}


@cache
def openapi() -> Json:
    """Return the whole document."""
    paths: Json = {}
    for row in OPERATIONS:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {"title": "OpenIMDS admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
