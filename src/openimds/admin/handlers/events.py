"""The operations on scheduled events, and on their log."""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Annotated, cast

import msgspec.json
from msgspec import Meta, Raw, Struct, structs
from starlette.requests import Request

from openimds.admin.auth import body_of
from openimds.admin.input_types import object_type
from openimds.admin.operation import (
    BAD,
    CONFLICT,
    CREATED,
    LARGE,
    NONE,
    OK,
    SLOW,
    STORE,
    TYPE,
    UNFIT,
    Answer,
    Content,
    Operation,
    PathParameter,
    QueryParameter,
    Tag,
)
from openimds.admin.pages import (
    CURSOR,
    LIMIT,
    Page,
    decode_cursor,
    encode_cursor,
    fitting,
    number_cursor,
    read_page,
)
from openimds.admin.problem import ProblemError, not_found
from openimds.admin.roles import Role, caller
from openimds.admin.selection import MEMBER, SELECTION, query_selector, with_names
from openimds.admin.services import AdminServices
from openimds.admin.token_scope import has_all, has_any, scope_of
from openimds.errors import BAD_JSON
from openimds.events.log_format import EventLogLine, Moment, date_of, line
from openimds.facts.events import EVENT_SOURCES, NEEDS, TYPES, EventStatus, Trigger
from openimds.fleet.selection import choose_names
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import LogEntry
from openimds.parameters import Parameter
from openimds.protocol.events.event import Event
from openimds.protocol.events.request import REQUEST, read_request
from openimds.protocol.events.state_machine import RefusalReason, TransitionRefusal
from openimds.vm.decode import decode
from openimds.vm.selector import Selector

_STATUSES = {RefusalReason.UNKNOWN: HTTPStatus.NOT_FOUND, RefusalReason.STATUS: HTTPStatus.CONFLICT}
_BEGINNING = (float("-inf"), "")


class EventView(Struct, frozen=True, rename="camel", kw_only=True):
    """A scheduled event.

    `vms` are the VMs that it hits, `approvals` those that approved it.
    """

    id: str
    type: Annotated[str, Meta(extra_json_schema={"enum": [row.name for row in TYPES]})]
    status: EventStatus
    scope: str
    vms: tuple[str, ...]
    resources: tuple[str, ...]
    not_before: Moment
    duration_s: int
    description: str
    source: Annotated[str, Meta(extra_json_schema={"enum": [*EVENT_SOURCES]})]
    needs: Annotated[str, Meta(extra_json_schema={"enum": [*NEEDS]})]
    approvals: tuple[str, ...]
    approved: bool
    created: Moment
    started: Moment | None


class EventPage(Page[EventView], frozen=True):
    """A page of scheduled events."""


class EventLogPage(Page[EventLogLine], frozen=True):
    """A page of the event log."""


EventInput = object_type(
    "EventInput",
    # With a selector the names may be left out.
    (
        *(structs.replace(row, required=row.required and row.name != "vms") for row in REQUEST),
        MEMBER,
    ),
)


async def list_events(services: AdminServices, request: Request) -> Answer:
    """List the events that are not completed, oldest declaration first."""
    limit, vm, selector = LIMIT.read(request), _VM.read(request), query_selector(request)
    after = decode_cursor(request, tuple[float, str], _BEGINNING)
    chosen = {*await choose_names(services.fleet_service, selector)} if selector else None
    events = [
        event
        for event in sorted(services.events_service.events(), key=_place)
        if _place(event) > after
        and (vm is None or vm in event.vms)
        and (chosen is None or not chosen.isdisjoint(event.vms))
    ]
    cursor = encode_cursor(_place(events[limit - 1])) if len(events) > limit else None
    return EventPage([event_view(event) for event in events[:limit]], cursor)


async def declare_events(services: AdminServices, request: Request) -> Answer:
    """Declare an event for each scope that the request touches."""
    value = await with_names(services, request, decode(await body_of(request), "body.json"))
    wanted = read_request(value)
    work = services.events_service.declare(wanted, caller(request))
    return EventPage([event_view(event) for event in await asyncio.shield(work)], None)


async def get_event(services: AdminServices, request: Request) -> Answer:
    """Return an event that is not completed."""
    event_id = request.path_params["id"]
    event = services.events_service.get(event_id)
    if event is None or not has_any(services.fleet_service, scope_of(request), event.vms):
        raise _no_event(event_id)
    return event_view(event)


def _no_event(event_id: str) -> ProblemError:
    detail = f'There is no event "{event_id}"; it may be over. GET /v1/events lists them'
    return not_found(detail)


async def start_event(services: AdminServices, request: Request) -> Answer:
    """Start an event without waiting for approval or NotBefore."""
    return await _order(services, request, Trigger.START)


async def complete_event(services: AdminServices, request: Request) -> Answer:
    """End an event that has started."""
    return await _order(services, request, Trigger.COMPLETE)


async def cancel_event(services: AdminServices, request: Request) -> Answer:
    """Take back an event that has not started."""
    return await _order(services, request, Trigger.CANCEL)


async def approve_event(services: AdminServices, request: Request) -> Answer:
    """Approve an event in the name of the VMs that it hits."""
    return await _order(services, request, Trigger.APPROVED)


async def _order(services: AdminServices, request: Request, trigger: Trigger) -> EventView:
    event_id = request.path_params["id"]
    if scope := scope_of(request):
        event, fleet_service = services.events_service.get(event_id), services.fleet_service
        if event is None or not has_any(fleet_service, scope, event.vms):
            raise _no_event(event_id)
        if not has_all(fleet_service, scope, event.vms):
            detail = (
                f'The event also hits VMs other than "{scope.text}", to which this token is bound'
            )
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
    work = services.events_service.order(trigger, event_id, caller(request))
    outcome = await asyncio.shield(work)
    if isinstance(outcome, TransitionRefusal):
        raise ProblemError(_STATUSES[outcome.reason], outcome.text)
    return event_view(outcome)


async def list_event_log(services: AdminServices, request: Request) -> Answer:
    """List the log of events, oldest entry first."""
    limit, since = LIMIT.read(request), number_cursor(request)
    fleet_service = services.fleet_service
    read = partial(read_page, fleet_service.store.log_entries, place=_number_of, size=_size_of)
    entries: list[LogEntry] = await fleet_service.call_store(read, since, limit)
    page = entries[: min(limit, fitting(map(_size_of, entries)))]
    cursor = str(page[-1].number) if len(entries) > len(page) else None
    scope = scope_of(request)
    shown = [entry for entry in page if is_entry_shown(fleet_service, scope, entry)]
    # The lines are JSON: they are sent without decoding them.
    lines = [cast("EventLogLine", Raw(line(entry))) for entry in shown]
    return EventLogPage(lines, cursor)


class _HitVms(Struct):
    """The VMs of a stored log entry."""

    vms: tuple[str, ...] = ()


def is_entry_shown(service: FleetService, scope: Selector | None, entry: LogEntry) -> bool:
    """Tell whether a token with a scope sees an entry of the event log."""
    if scope is None:
        return True
    try:
        hit = msgspec.json.decode(entry.body, type=_HitVms)
    except BAD_JSON:
        return False
    return has_any(service, scope, hit.vms)


def _number_of(entry: LogEntry) -> int:
    return entry.number


def _size_of(entry: LogEntry) -> int:
    return len(entry.body)


def event_view(event: Event) -> EventView:
    """Return an event as the admin API shows it."""
    started_s = event.started_s
    return EventView(
        id=event.event_id,
        type=event.event_type,
        status=event.status,
        scope=event.scope,
        vms=event.vms,
        resources=event.resources,
        not_before=date_of(event.not_before_s),
        duration_s=event.duration_s,
        description=event.description,
        source=event.source,
        needs=event.needs,
        approvals=event.approvals,
        approved=event.is_approved,
        created=date_of(event.created_s),
        started=None if started_s is None else date_of(started_s),
    )


def _place(event: Event) -> tuple[float, str]:
    return event.created_s, event.event_id


_VM = QueryParameter(Parameter("vm", str, "Only events that hit this VM."), "web-1")
_ID = PathParameter("id", "Id of an event.", "602D9444-D2CD-49C7-8624-8643E7171297")
_EVENT = EventView(
    id=_ID.example,
    type="Reboot",
    status=EventStatus.SCHEDULED,
    scope="vm:web-1",
    vms=("web-1",),
    resources=("web-1",),
    not_before="2026-11-22T20:09:46.000Z",
    duration_s=-1,
    description="Host server is undergoing an emergency repair.",
    source="Platform",
    needs="any",
    approvals=(),
    approved=False,
    created="2026-11-22T19:54:46.000Z",
    started=None,
)
_LOG_LINE = EventLogLine(
    number=1,
    event=_ID.example,
    at="2026-11-22T19:54:46.000Z",
    who="api 127.0.0.1 token:local",
    trigger=Trigger.DECLARED,
    before=EventStatus.NEW,
    after=EventStatus.SCHEDULED,
    type="Reboot",
    scope="vm:web-1",
    vms=("web-1",),
    resources=("web-1",),
    not_before="2026-11-22T20:09:46.000Z",
    duration_s=-1,
    description="Host server is undergoing an emergency repair.",
    source="Platform",
    incarnation=2,
)
_ORDERS = (
    (start_event, "Start an event without waiting for approval or NotBefore"),
    (complete_event, "End an event that has started"),
    (cancel_event, "Take back an event that has not started"),
    (approve_event, "Approve an event in the name of the VMs that it hits"),
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_events",
        method="GET",
        path="/v1/events",
        tag=Tag.EVENTS,
        role=Role.READ,
        summary="List the scheduled events, oldest declaration first",
        description="Completed events are not listed; the log has them.",
        handler=list_events,
        answers={OK: Content(EventPage, EventPage([_EVENT], None))},
        problems=(BAD,),
        queries=(LIMIT, CURSOR, _VM, *SELECTION),
    ),
    Operation(
        name="declare_events",
        method="POST",
        path="/v1/events",
        tag=Tag.EVENTS,
        role=Role.OPERATE,
        summary="Declare a scheduled event",
        description="One event for each scope (scale set, availability set, VM) of the VMs. They "
        "are `vms`, in which wildcards are allowed, or those that `select` chooses among them.",
        handler=declare_events,
        answers={CREATED: Content(EventPage, EventPage([_EVENT], None))},
        problems=(BAD, LARGE, SLOW, TYPE, UNFIT, STORE),
        takes=Content(EventInput, {"type": "Reboot", "vms": ["web-1"], "inS": 900}),
    ),
    Operation(
        name="list_event_log",
        method="GET",
        path="/v1/events/log",
        tag=Tag.EVENTS,
        role=Role.READ,
        summary="List the log of events, oldest entry first",
        description="With a token that is bound to VMs, a page may have fewer items than `limit`, "
        "or none, before the last one: only `next: null` ends the list.",
        handler=list_event_log,
        answers={OK: Content(EventLogPage, EventLogPage([_LOG_LINE], None))},
        problems=(BAD, STORE),
        queries=(LIMIT, CURSOR),
    ),
    Operation(
        name="get_event",
        method="GET",
        path="/v1/events/{id}",
        tag=Tag.EVENTS,
        role=Role.READ,
        summary="Return an event that is not completed",
        handler=get_event,
        answers={OK: Content(EventView, _EVENT)},
        problems=(NONE,),
        parameter=_ID,
    ),
    *(
        Operation(
            name=handler.__name__,
            method="POST",
            path=f"/v1/events/{{id}}/{handler.__name__.removesuffix('_event')}",
            tag=Tag.EVENTS,
            role=Role.OPERATE,
            summary=summary,
            handler=handler,
            answers={OK: Content(EventView, _EVENT)},
            problems=(NONE, CONFLICT, STORE),
            parameter=_ID,
        )
        for handler, summary in _ORDERS
    ),
)
