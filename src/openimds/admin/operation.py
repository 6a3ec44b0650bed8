"""The rows that an operation of the admin API consists of."""

import re
from collections.abc import Awaitable, Callable
from enum import Enum
from http import HTTPStatus
from typing import Any, TypeAlias

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.problem import bad_query
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices
from openimds.errors import ConfigError
from openimds.parameters import Parameter, read_value

JSON, EVENT_STREAM = "application/json", "text/event-stream"

Answer: TypeAlias = Response | Struct | None
"""A Struct is sent as JSON with the operation's status, None as 204; a Response as it is."""
Handler: TypeAlias = Callable[[AdminServices, Request], Awaitable[Answer]]


class Tag(Enum):
    """A group of operations, and its description."""

    VMS = "The VMs of the fleet."
    IDENTITIES = "Managed identities, the ways to their tokens, and the keys that sign these."
    CERTIFICATES = "The CA certificates of attested documents."
    EVENTS = "Scheduled events, their log, and scenarios of recurring events."
    CLOCK = "The clock of guests."
    FAULTS = "Injected faults, and playbooks of them."
    REQUESTS = "Recorded requests of guests."
    CHANGES = "The changes of VMs."
    SERVER = "The server itself."
    HOSTS = "The hosts of a fleet of hosts, and the VMs placed on them."
    ACCESS = "The tokens of this API."

    @property
    def title(self) -> str:
        """The name in the OpenAPI document."""
        return self.name.lower()


class PathParameter(Struct, frozen=True):
    """The one variable part of a path."""

    name: str
    help: str
    example: str


class QueryParameter(Struct, frozen=True):
    """A parameter of the query string, and an example of its value."""

    row: Parameter
    example: str | int | None = None

    def read(self, request: Request) -> Any:  # noqa: ANN401 - the type is that of the row
        """Return the value in the query, or the default of the row.

        Raises:
            ProblemError: 400, the value does not fit the row.
        """
        text = request.query_params.get(self.row.name)
        if text is None and not self.row.required:
            return self.row.default
        try:
            return read_value(self.row, text or "", text=True)
        except ConfigError as error:
            raise bad_query(error) from None


class Content(Struct, frozen=True):
    """A body: its type, an example of it, and its media types.

    A tuple of types means one of them. A callable example is called when the document is made.
    """

    type: Any
    example: Any
    media: tuple[str, ...] = (JSON,)


class Operation(Struct, frozen=True, kw_only=True):
    """One operation of the admin API, with the handler that does it.

    `answers` are the bodies of success by status, the usual status first. `problems` are the
    statuses of its errors, all in the shape of a problem. `role` is that of a token that may call
    it. No token is needed with `is_open`, and with `is_open_on_loopback` none by callers of this
    machine.
    """

    name: str
    method: str
    path: str
    tag: Tag
    summary: str
    handler: Handler
    answers: dict[int, Content | None]
    problems: tuple[int, ...] = ()
    description: str = ""
    parameter: PathParameter | None = None
    queries: tuple[QueryParameter, ...] = ()
    headers: tuple[str, ...] = ()
    takes: Content | None = None
    role: Role = Role.ADMIN
    is_open: bool = False
    is_open_on_loopback: bool = False

    @property
    def status(self) -> int:
        """The usual status of success."""
        return next(iter(self.answers))

    @property
    def example_path(self) -> str:
        """The path with the example of its parameter."""
        example = self.parameter.example if self.parameter else ""
        return re.sub(r"{\w+}", example, self.path)


VM_NAME = PathParameter("name", "Name of a VM.", "web-1")

OK, CREATED, GONE = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
BAD, NONE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND
CONFLICT = HTTPStatus.CONFLICT
CHANGED, LARGE = HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
UNFIT, STORE = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
TYPE, SLOW = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.REQUEST_TIMEOUT
