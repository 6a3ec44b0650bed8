"""What a row of the admin API's operations is made of."""

from http import HTTPStatus

from msgspec import Struct


class QueryParameter(Struct, frozen=True):
    """A query parameter: its name, its JSON schema, what it is for."""

    name: str
    schema: dict[str, object]
    about: str


class RequestBody(Struct, frozen=True):
    """What an operation takes or gives: the name of a schema, or none, and its media types."""

    schema: str
    media: tuple[str, ...] = ("application/json",)


class Operation(Struct, frozen=True):
    """One operation. `problems` are the statuses of its errors, all in the shape of a problem."""

    name: str
    method: str
    path: str
    about: str
    answers: dict[int, RequestBody | None]
    problems: tuple[int, ...] = ()
    queries: tuple[QueryParameter, ...] = ()
    headers: tuple[str, ...] = ()
    takes: RequestBody | None = None
    is_open: bool = False


MOST_PER_PAGE, DEFAULT_PAGE = 1000, 100
LIMIT = QueryParameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MOST_PER_PAGE, "default": DEFAULT_PAGE},
    "How many at the most.",
)
CURSOR = QueryParameter("cursor", {"type": "string"}, "What `next` of the page before said.")
SINCE = QueryParameter(
    "since", {"type": "integer", "minimum": 0}, "Only what came after this revision."
)
VERSION = QueryParameter(
    "api-version", {"type": "string"}, "A general api-version; default: the newest."
)

OK, CREATED, GONE = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
BAD, NONE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND
CHANGED, LARGE = HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
UNFIT, STORE = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
TYPE, SLOW = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.REQUEST_TIMEOUT
