"""The rows of pages and forms, and the request that their functions get."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import urlencode

import msgspec.json
from msgspec import Struct, field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from openimds.admin.auth import admit
from openimds.admin.operation import JSON, Operation
from openimds.admin.operations import OPERATIONS
from openimds.admin.page.fleet_view import FleetView
from openimds.admin.page.session_gate import Admitted
from openimds.admin.perform import perform
from openimds.admin.problem import ProblemDetails
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices

BY_NAME: dict[str, Operation] = {row.name: row for row in OPERATIONS}


class PageProblemError(Exception):
    """Raised by `PageCall.read` for an operation that failed: the page shows its problem."""

    def __init__(self, problem: ProblemDetails) -> None:
        """Keep the problem."""
        self.problem = problem
        super().__init__(problem.detail)


class OperationCall(Struct, frozen=True, kw_only=True):
    """A request for an operation of the API, by its name."""

    operation: str
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    media: str = JSON


class PageCall:
    """A request for a page or of a form, with its services and caller.

    `form` is the path of a form row that failed, `typed` its fields and `problem` the reason; all
    are empty for a page that was only opened. `block` is the part that the script asks for, and
    `fleet` is the view that all pages share.
    """

    def __init__(
        self, services: AdminServices, request: Request, admitted: Admitted, fleet: FleetView
    ) -> None:
        """Call for an admitted session."""
        self.services, self.request, self.fleet = services, request, fleet
        self.session, self.grant = admitted.session, admitted.grant
        self.form = self.block = ""
        self.typed: dict[str, str] = {}
        self.problem: ProblemDetails | None = None

    @property
    def name(self) -> str:
        """The variable part of the page's path."""
        return str(self.request.path_params.get("name", ""))

    @property
    def query(self) -> Mapping[str, str]:
        """The query parameters of the page."""
        return self.request.query_params

    @property
    def is_admin(self) -> bool:
        """Whether the token has the role `admin`, so that it sees guarded members."""
        return self.grant.role is Role.ADMIN

    def may(self, operation: str) -> bool:
        """Tell whether the token's role is enough for an operation."""
        row = BY_NAME[operation]
        return row.is_open or self.grant.role.includes(row.role)

    async def read(self, operation: str, name: str = "", **query: str) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON value that an operation answers with; None without a body.

        Raises:
            PageProblemError: it failed, or needs another role.
        """
        path = {"name": name} if name else {}
        call = OperationCall(operation=operation, path=path, query=query)
        return value_of(await self.perform(call))

    async def perform(self, call: OperationCall) -> Response:
        """Do an operation as the API does it, as this caller."""
        row = BY_NAME[call.operation]
        headers = {"content-type": call.media, **call.headers}
        scope = {
            **self.request.scope,
            "method": row.method,
            "path_params": call.path,
            "query_string": urlencode(call.query).encode(),
            "headers": [
                (b"host", self.request.headers.get("host", "").encode("latin-1")),
                *((name.lower().encode(), text.encode()) for name, text in headers.items()),
            ],
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": call.body, "more_body": False}

        request = Request(scope, receive)

        async def check() -> None:
            if not row.is_open:
                admit(request, self.grant, row)

        return await perform(self.services, row, request, check)


def value_of(response: Response) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON value in an operation's response; None without a body.

    Raises:
        PageProblemError: the response is a problem.
    """
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        raise PageProblemError(msgspec.json.decode(response.body, type=ProblemDetails))
    return msgspec.json.decode(response.body) if response.body else None


Values: TypeAlias = Callable[[PageCall], Awaitable[dict[str, Any]]]
"""Makes the values of a page's template."""


class PageRow(Struct, frozen=True, kw_only=True):
    """A page below /ui.

    `path` is `/` or, as `/vms/{name}`, without a slash at its end. `live` are the blocks of the
    template that the script may ask for alone, `?live=BLOCK`. `version`, if there is one, returns a
    short text that changes with these blocks, or nothing: an unchanged one is not made again.
    """

    path: str
    title: str
    template: str
    values: Values
    role: Role = Role.READ
    is_in_navigation: bool = True
    live: tuple[str, ...] = ()
    version: Callable[[PageCall], Awaitable[str]] | None = None


class FormRow(Struct, frozen=True, kw_only=True):
    """A form, which is sent to a path below /ui by POST.

    `call` makes the operation's request of the fields. If it succeeds, the browser goes to the path
    that `then` returns, and the page there shows the text of `notice`; both get the page's call,
    the fields and the answer's JSON value. If not, the page at the path `page` is drawn again, with
    `problem`, `typed` and `form`.
    """

    path: str
    page: str
    call: Callable[[PageCall, dict[str, str]], OperationCall]
    notice: Callable[[PageCall, dict[str, str], Any], str]
    then: Callable[[PageCall, dict[str, str], Any], str]
