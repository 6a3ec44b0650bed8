"""Every operation of the admin API, one row each; routes and the OpenAPI document follow."""

from http import HTTPStatus

from msgspec import Struct


class Query(Struct, frozen=True):
    """A query parameter: its name, its JSON schema, what it is for."""

    name: str
    schema: dict[str, object]
    about: str


class Body(Struct, frozen=True):
    """What an operation takes or gives: the name of a schema, or none, and its media types."""

    schema: str
    media: tuple[str, ...] = ("application/json",)


class Operation(Struct, frozen=True):
    """One operation. `problems` are the statuses of its errors, all in the shape of a problem."""

    name: str
    method: str
    path: str
    about: str
    answers: dict[int, Body | None]
    problems: tuple[int, ...] = ()
    queries: tuple[Query, ...] = ()
    headers: tuple[str, ...] = ()
    takes: Body | None = None
    is_open: bool = False


MOST_PER_PAGE = 1000
_LIMIT = Query(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MOST_PER_PAGE, "default": 100},
    "How many at the most.",
)
_CURSOR = Query("cursor", {"type": "string"}, "What `next` of the page before said.")
_SINCE = Query("since", {"type": "integer", "minimum": 0}, "Only what came after this revision.")
_VERSION = Query("api-version", {"type": "string"}, "A general api-version; default: the newest.")

_OK, _CREATED, _GONE = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
_BAD, _NONE = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND
_CHANGED, _LARGE = HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_UNFIT, _STORE = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
_TYPE, _SLOW = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.REQUEST_TIMEOUT

MERGE_PATCH = "application/merge-patch+json"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_vms",
        "GET",
        "/v1/vms",
        "List the VMs in the order of their names.",
        {_OK: Body("VmPage")},
        (_BAD, _STORE),
        (_LIMIT, _CURSOR),
    ),
    Operation(
        "get_vm",
        "GET",
        "/v1/vms/{name}",
        "Return what is said of a VM.",
        {_OK: Body("Vm"), HTTPStatus.NOT_MODIFIED: None},
        (_NONE, _STORE),
        headers=("If-None-Match",),
    ),
    Operation(
        "put_vm",
        "PUT",
        "/v1/vms/{name}",
        "Make a VM, or replace it. The body is that of a VM in a fleet file.",
        {_OK: Body("Vm"), _CREATED: Body("Vm")},
        (_BAD, _CHANGED, _LARGE, _SLOW, _TYPE, _UNFIT, _STORE),
        headers=("If-Match", "If-None-Match"),
        takes=Body("VmInput"),
    ),
    Operation(
        "patch_vm",
        "PATCH",
        "/v1/vms/{name}",
        "Change a VM by a JSON merge patch (RFC 7396): null removes a member.",
        {_OK: Body("Vm")},
        (_BAD, _NONE, _CHANGED, _LARGE, _SLOW, _TYPE, _UNFIT, _STORE),
        headers=("If-Match",),
        takes=Body("VmPatch", (MERGE_PATCH, "application/json")),
    ),
    Operation(
        "delete_vm",
        "DELETE",
        "/v1/vms/{name}",
        "Remove a VM.",
        {_GONE: None},
        (_NONE, _CHANGED, _STORE),
        headers=("If-Match",),
    ),
    Operation(
        "get_document",
        "GET",
        "/v1/vms/{name}/document",
        "Return the instance document of a VM as it gets it itself.",
        {_OK: Body("Document")},
        (_BAD, _NONE, _STORE),
        (_VERSION,),
    ),
    Operation(
        "follow_changes",
        "GET",
        "/v1/changes",
        "Follow the changes as server-sent events; Last-Event-ID or `since` continues a feed.",
        {_OK: Body("Change", ("text/event-stream",))},
        (_BAD, _STORE),
        (_SINCE,),
        headers=("Last-Event-ID",),
    ),
    Operation(
        "list_audit",
        "GET",
        "/v1/audit",
        "List the changes with what was there before and after, oldest first.",
        {_OK: Body("AuditPage")},
        (_BAD, _STORE),
        (_LIMIT, _CURSOR),
    ),
    Operation(
        "rotate_token",
        "POST",
        "/v1/token",
        "Make a new token; it stands in the token file, and this one ends.",
        {_OK: Body("TokenFile")},
        (_STORE,),
    ),
    Operation("get_health", "GET", "/healthz", "Alive.", {_OK: Body("Health")}, is_open=True),
    Operation(
        "get_readiness",
        "GET",
        "/readyz",
        "Ready: guests are answered and changes can be written.",
        {_OK: Body("Health")},
        (_STORE,),
        is_open=True,
    ),
    Operation(
        "get_metrics",
        "GET",
        "/metrics",
        "Numbers for Prometheus.",
        {_OK: Body("Text", ("text/plain",))},
        is_open=True,
    ),
    Operation(
        "get_openapi",
        "GET",
        "/openapi.json",
        "This description.",
        {_OK: Body("OpenApi")},
        is_open=True,
    ),
)
