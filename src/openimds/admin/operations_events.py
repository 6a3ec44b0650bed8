"""The operations on scheduled events, scenarios and the clock of guests, one row each."""

from http import HTTPStatus

from openimds.admin.operation import (
    BAD,
    CREATED,
    CURSOR,
    GONE,
    LARGE,
    LIMIT,
    NONE,
    OK,
    SLOW,
    STORE,
    UNFIT,
    Operation,
    QueryParameter,
    RequestBody,
)

_NOT_NOW = HTTPStatus.CONFLICT
_VM = QueryParameter("vm", {"type": "string"}, "Only events that hit this VM.")
_ORDERS = (
    ("start", "Start an event without waiting for approval or NotBefore."),
    ("complete", "End an event that has started."),
    ("cancel", "Take back an event that has not started."),
    ("approve", "Approve an event in the name of the VMs that it hits."),
)

EVENT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "list_events",
        "GET",
        "/v1/events",
        "List the scheduled events that are not gone, oldest declaration first.",
        {OK: RequestBody("EventPage")},
        (BAD,),
        (LIMIT, CURSOR, _VM),
    ),
    Operation(
        "declare_events",
        "POST",
        "/v1/events",
        "Declare an event: one for each scope (scale set, availability set, VM) that it touches.",
        {CREATED: RequestBody("EventPage")},
        (BAD, LARGE, SLOW, UNFIT, STORE),
        takes=RequestBody("EventInput"),
    ),
    Operation(
        "list_event_log",
        "GET",
        "/v1/events/log",
        "List what happened to events, oldest first.",
        {OK: RequestBody("HappeningPage")},
        (BAD, STORE),
        (LIMIT, CURSOR),
    ),
    Operation(
        "get_event",
        "GET",
        "/v1/events/{id}",
        "Return an event that is not gone.",
        {OK: RequestBody("Event")},
        (NONE,),
    ),
    *(
        Operation(
            f"{verb}_event",
            "POST",
            f"/v1/events/{{id}}/{verb}",
            about,
            {OK: RequestBody("Event")},
            (NONE, _NOT_NOW, STORE),
        )
        for verb, about in _ORDERS
    ),
    Operation(
        "list_scenarios",
        "GET",
        "/v1/scenarios",
        "List the scenarios that were begun.",
        {OK: RequestBody("ScenarioPage")},
    ),
    Operation(
        "begin_scenario",
        "POST",
        "/v1/scenarios",
        "Begin a scenario now; one of the same name ends.",
        {CREATED: RequestBody("Scenario")},
        (BAD, LARGE, SLOW, UNFIT, STORE),
        takes=RequestBody("ScenarioInput"),
    ),
    Operation(
        "end_scenario",
        "DELETE",
        "/v1/scenarios/{name}",
        "End a scenario; the events that it brought stay.",
        {GONE: None},
        (NONE, STORE),
    ),
    Operation(
        "get_clock",
        "GET",
        "/v1/clock",
        "Return what guests take the time to be.",
        {OK: RequestBody("Clock")},
    ),
    Operation(
        "set_clock",
        "POST",
        "/v1/clock",
        "Set the clock of guests, put it forward, hurry it or stop it (needs --virtual-clock).",
        {OK: RequestBody("Clock")},
        (BAD, _NOT_NOW, LARGE, SLOW, UNFIT, STORE),
        takes=RequestBody("ClockInput"),
    ),
)
