"""The operations on what guests have asked, one row each."""

from http import HTTPStatus

from openimds.admin.operation import (
    BAD,
    CURSOR,
    GONE,
    LIMIT,
    OK,
    Operation,
    QueryParameter,
    RequestBody,
)

LEAST_STATUS, MOST_STATUS = 0, 599
_OFF = HTTPStatus.CONFLICT
_VM = QueryParameter(
    "vm", {"type": "string"}, "Only requests of this VM; empty: of callers who are none."
)
_ENDPOINT = QueryParameter(
    "endpoint", {"type": "string"}, "Only requests of this endpoint, by its key."
)
_STATUS = QueryParameter(
    "status",
    {"type": "integer", "minimum": LEAST_STATUS, "maximum": MOST_STATUS},
    "Only requests with this status; 0: a fault left them without one.",
)
_SINCE = QueryParameter(
    "since", {"type": "integer", "minimum": 0}, "First those held after this number."
)

REQUEST_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_requests",
        "GET",
        "/v1/requests",
        "List what guests have asked and were answered, oldest first (needs --record).",
        {OK: RequestBody("RequestPage")},
        (BAD, _OFF),
        (LIMIT, CURSOR, _VM, _ENDPOINT, _STATUS),
    ),
    Operation(
        "clear_requests",
        "DELETE",
        "/v1/requests",
        "Forget the requests that were recorded.",
        {GONE: None},
        (_OFF,),
    ),
    Operation(
        "report_requests",
        "GET",
        "/v1/requests/report",
        "Say what the recorded clients did that Azure refuses or its documents advise against.",
        {OK: RequestBody("FindingPage")},
        (_OFF,),
        (_VM,),
    ),
    Operation(
        "follow_requests",
        "GET",
        "/v1/requests/feed",
        "Follow requests as server-sent events (`request`), whether they are recorded or not; "
        "Last-Event-ID or `since` continues from those that are.",
        {OK: RequestBody("Request", ("text/event-stream",))},
        (BAD,),
        (_SINCE, _VM, _ENDPOINT, _STATUS),
        headers=("Last-Event-ID",),
    ),
)
