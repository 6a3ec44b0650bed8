"""The OpenAPI document, made from the operations' rows and the types that they name."""

from collections.abc import Iterable
from http import HTTPStatus
from shlex import quote
from typing import Any
from urllib.parse import urlencode

import msgspec.json

from openimds import __version__
from openimds.admin.input_types import parameter_type
from openimds.admin.operation import Content, Operation, QueryParameter, Tag
from openimds.admin.problem import MEDIA, ProblemDetails

Json = dict[str, Any]

OPENAPI_VERSION = "3.1.0"
INFO = {
    "title": "OpenIMDS admin API",
    "version": __version__,
    "summary": "VMs, scheduled events, faults and credentials of a running server.",
    "description": "Send a token as `Authorization: Bearer TOKEN`: `openimds token path` names the "
    "file of the first one, `openimds token add` makes others with a role. A role includes those "
    "before it: `read`, `operate`, `admin`. Lists are `{items, next}`; `next` is the `cursor` of "
    "the next page, or null. Errors are problems of RFC 9457; those of a body have the members "
    "`where`, `seen` and `expected`. Names are camelCase; the snake_case of 0.1.0 in a body is "
    "read until 1.0, and named in the header `Warning` of the answer.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}

_TEXT: Json = {"type": "string"}
_NAME: Json = {**_TEXT, "minLength": 1, "maxLength": 256, "pattern": "^[^/]+$"}
_URL = "http://127.0.0.1:8170"


def openapi_document(operations: tuple[Operation, ...]) -> bytes:
    """Return the document of all operations as JSON."""
    schemas = _Schemas(operations)
    paths: Json = {}
    for row in operations:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schemas)
    return msgspec.json.encode(
        {
            "openapi": OPENAPI_VERSION,
            "info": INFO,
            "tags": [{"name": tag.title, "description": tag.value} for tag in Tag],
            "paths": paths,
            "components": {
                "schemas": schemas.components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def example_value(content: Content) -> Any:  # noqa: ANN401 - any JSON value
    """Return the example of a body as a JSON value."""
    example = content.example() if callable(content.example) else content.example
    return msgspec.json.decode(msgspec.json.encode(example))


def example_query(row: Operation) -> dict[str, str]:
    """Return the query parameters that an operation requires, with their examples."""
    return {query.row.name: str(query.example) for query in row.queries if query.row.required}


class _Schemas:
    """The JSON schemas of all bodies, by the type."""

    def __init__(self, rows: Iterable[Operation]) -> None:
        bodies = [body for row in rows for body in (row.takes, *row.answers.values()) if body]
        # By identity: not every type form is hashable.
        types = {id(kind): kind for body in bodies for kind in _alternatives(body.type)}
        template = "#/components/schemas/{name}"
        known, self.components = msgspec.json.schema_components(
            [*types.values(), ProblemDetails], ref_template=template
        )
        *bodies_schemas, self.problem = known
        self._by_id = dict(zip(types, bodies_schemas, strict=True))

    def of(self, kind: Any) -> Json:  # noqa: ANN401 - a type form
        """Return the schema of a type, or of one of several."""
        schemas = [self._by_id[id(one)] for one in _alternatives(kind)]
        return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _alternatives(kind: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a type form
    return kind if isinstance(kind, tuple) else (kind,)


def _operation(row: Operation, schemas: _Schemas) -> Json:
    answers = {
        str(int(status)): {
            "description": HTTPStatus(status).phrase,
            **({"content": _content(body, schemas)} if body else {}),
        }
        for status, body in row.answers.items()
    }
    # Bytes that are not HTTP are 400 at every path. 401 and 421 come from the checks before every
    # operation that is not open.
    checks = () if row.is_open else (401, 403)
    for status in (400, *row.problems, *checks, 421):
        problem = {"schema": schemas.problem}
        phrase = HTTPStatus(status).phrase
        answers[str(int(status))] = {"description": phrase, "content": {MEDIA: problem}}
    operation: Json = {
        "operationId": row.name,
        "tags": [row.tag.title],
        "summary": row.summary,
        "responses": answers,
        "security": _security(row),
        "x-codeSamples": [{"lang": "Shell", "source": curl(row)}],
    }
    role = "" if row.is_open else f"Needs a token of the role `{row.role}`."
    if description := " ".join(filter(None, (row.description, role))):
        operation["description"] = description
    if parameters := [
        *_path_parameters(row),
        *map(_query, row.queries),
        *map(_header, row.headers),
    ]:
        operation["parameters"] = parameters
    if row.takes:
        operation["requestBody"] = {"required": True, "content": _content(row.takes, schemas)}
    return operation


def _security(row: Operation) -> list[Json]:
    """Return the alternatives of access: a token of a role, or on loopback nothing."""
    if row.is_open:
        return []
    token = {"token": [row.role.value]}
    return [{}, token] if row.is_open_on_loopback else [token]


def _content(body: Content, schemas: _Schemas) -> Json:
    # Viewers take the members of a plain `example` for several examples.
    examples = {"usual": {"value": example_value(body)}}
    content = {"schema": schemas.of(body.type), "examples": examples}
    return dict.fromkeys(body.media, content)


def _path_parameters(row: Operation) -> list[Json]:
    if row.parameter is None:
        return []
    parameter = row.parameter
    return [
        {
            "name": parameter.name,
            "in": "path",
            "required": True,
            "description": parameter.help,
            "schema": _NAME,
            "example": parameter.example,
        }
    ]


def _query(query: QueryParameter) -> Json:
    row, schema = query.row, msgspec.json.schema(parameter_type(query.row))
    parameter: Json = {
        "name": row.name,
        "in": "query",
        "required": row.required,
        "description": schema.pop("description"),
        "schema": schema,
    }
    if row.default:
        schema["default"] = row.default
    return parameter if query.example is None else {**parameter, "example": query.example}


def _header(name: str) -> Json:
    return {"name": name, "in": "header", "schema": _TEXT}


def curl(row: Operation) -> str:
    """Return a command that calls an operation as its examples have it."""
    words = ["curl"] if row.method == "GET" else ["curl", "-X", row.method]
    if not row.is_open and not row.is_open_on_loopback:
        words += ["-H", '"Authorization: Bearer $(cat "$(openimds token path)")"']
    if row.takes:
        body = msgspec.json.encode(example_value(row.takes)).decode()
        words += ["-H", quote(f"Content-Type: {row.takes.media[0]}"), "-d", quote(body)]
    query = example_query(row)
    url = f"{_URL}{row.example_path}{'?' if query else ''}{urlencode(query)}"
    return " ".join([*words, quote(url)])
