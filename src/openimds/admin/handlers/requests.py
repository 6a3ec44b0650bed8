"""The operations on the recorded requests of guests."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Annotated, TypeAlias

import msgspec.json
from msgspec import UNSET, Meta, Struct, UnsetType, structs
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from openimds.admin.operation import (
    BAD,
    CONFLICT,
    EVENT_STREAM,
    GONE,
    OK,
    Answer,
    Content,
    Operation,
    QueryParameter,
    Tag,
)
from openimds.admin.pages import CURSOR, LIMIT, MOST_NUMBER, Page, number_cursor
from openimds.admin.problem import ProblemError
from openimds.admin.roles import Role, is_admin
from openimds.admin.selection import SELECTION, query_selector
from openimds.admin.services import AdminServices, RequestRecording
from openimds.admin.token_scope import has, scope_of
from openimds.events.log_format import Moment, date_of
from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.evidence import Evidence
from openimds.facts.lint import RULES, Verdict, rule
from openimds.fleet.selection import choose_names
from openimds.fleet.stored_bodies import decode_vm
from openimds.parameters import Parameter
from openimds.protocol.lint import Finding, Record, broken_rules, report
from openimds.vm.defaults import secondary_addresses

MOST_NEWEST = 1000
"""The newest requests of all VMs are looked for among so many."""
_NUMBER = re.compile(r"[0-9]{1,15}")
_IsWanted: TypeAlias = Callable[[Record], bool]
_GUARDED = {"root", "instance", "arc_instance", "identity_info", "platform_metadata"}
_DOCUMENTS = frozenset(row.key for row in ENDPOINTS if row.handler in _GUARDED)
"""Endpoints whose bodies have user data or identities."""


_RuleName: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": [row.key for row in RULES]})]


class RequestView(Struct, frozen=True, rename="camel", kw_only=True):
    """A request of a guest, and the response to it; secrets are `***`.

    `at` is a time of the guests' clock, `steadyS` seconds of the limits' clock. `vm` is empty for
    an unknown caller, `reason` for a response that is no refusal. `body` is the beginning of the
    response's body unless it holds a secret, `size` the whole body's bytes, `sent` the approval of
    events in the request. `fault` is the injected fault. `rules` are the rules of the client checks
    that the request breaks, where they were asked for.
    """

    number: int
    at: Moment
    steady_s: float
    vm: str
    peer: str
    method: str
    target: str
    headers: dict[str, str]
    endpoint: str
    status: int
    reason: str
    size: int
    body: str
    sent: str
    token_until: Moment | None
    fault: str
    rules: tuple[_RuleName, ...] | UnsetType = UNSET


class RequestPage(Page[RequestView], frozen=True):
    """A page of recorded requests."""


_Show: TypeAlias = Callable[[Record], RequestView]


class FindingView(Struct, frozen=True, kw_only=True):
    """A rule that the clients of a VM broke.

    `times` counts the requests that break it, `numbers` are those of the first ones, and `says` is
    the behaviour of Azure, or the advice in its documents.
    """

    rule: _RuleName
    verdict: Verdict
    vm: str
    times: int
    numbers: tuple[int, ...]
    example: str
    says: str
    evidence: Evidence


class FindingPage(Page[FindingView], frozen=True):
    """All findings."""


async def list_requests(services: AdminServices, request: Request) -> Answer:
    """List the recorded requests, oldest first."""
    limit, since = LIMIT.read(request), number_cursor(request)
    is_newest = _NEWEST.read(request)
    if is_newest and _VM.read(request) is None:
        is_chosen = any(request.query_params.get(row.row.name) for row in _CHOICES)
        most = MOST_NEWEST if is_chosen else limit
        since = max(since, await services.recording.last_number() - most)
    records = await _records(services, request, since)
    if is_newest:
        records = records[-limit:]
    cursor = str(records[limit - 1].number) if len(records) > limit else None
    show, page = _view_for(request), records[:limit]
    views = [show(record) for record in page]
    if _RULES.read(request):
        broken = await asyncio.to_thread(broken_rules, page)
        views = [structs.replace(view, rules=broken.get(view.number, ())) for view in views]
    return RequestPage(views, cursor)


async def clear_requests(services: AdminServices, _: Request) -> Answer:
    """Drop the recorded requests."""
    _check_recording(services.recording)
    _check_here(services.recording, None)
    await services.recording.clear()
    return None


async def report_requests(services: AdminServices, request: Request) -> Answer:
    """Report the rules that clients broke."""
    records = await _records(services, request, 0)
    secondary: dict[str, frozenset[str]] = {}
    if _PRIMARY.read(request):
        for name in {record.vm for record in records if record.vm}:
            stored = await services.fleet_service.call_store(services.fleet_service.store.get, name)
            secondary[name] = secondary_addresses(decode_vm(stored)) if stored else frozenset()
    # In a thread: many records take a while, and guests must not wait.
    findings = await asyncio.to_thread(report, records, secondary)
    return FindingPage([_finding_view(finding) for finding in findings], None)


async def follow_requests(services: AdminServices, request: Request) -> Answer:
    """Follow requests after a number, or from now on."""
    _check_here(services.recording, None)
    since: int | None = _SINCE.read(request)
    last_id = request.headers.get("last-event-id", "")
    if _NUMBER.fullmatch(last_id):
        since = int(last_id)
    is_wanted = await _filter(services, request)
    feed = _feed(services.recording, since, is_wanted, _view_for(request))
    return EventSourceResponse(feed, ping=15)


async def _feed(
    recording: RequestRecording, since: int | None, is_wanted: _IsWanted, show: _Show
) -> AsyncIterator[ServerSentEvent]:
    feed = recording.subscribe()
    try:
        last = await recording.last_number()
        if since is not None:
            # A number above the last one is of an earlier process: begin with the first record.
            for record in await recording.records(None, 0 if since > last else since):
                if is_wanted(record):
                    yield _event(show(record))
        while (record_or_end := await feed.get()) is not None:
            if is_wanted(record_or_end):
                yield _event(show(record_or_end))
        # The reader was too slow, or the server ends: the client resumes with Last-Event-ID.
    finally:
        recording.unsubscribe(feed)


async def _records(services: AdminServices, request: Request, since: int) -> list[Record]:
    is_wanted = await _filter(services, request)
    _check_recording(services.recording)
    vm: str | None = _VM.read(request)
    _check_here(services.recording, vm)
    if vm is not None and not has(services.fleet_service, scope_of(request), vm):
        return []  # No host is asked: its failure would tell which names are in use.
    return [one for one in await services.recording.records(vm, since) if is_wanted(one)]


def _check_here(recording: RequestRecording, vm: str | None) -> None:
    """Check that the records are here, or those of one VM that a host keeps.

    Raises:
        ProblemError: 409, with the command that shows those of a VM.
    """
    if recording.is_of_hosts and not vm:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "Each host keeps the requests of its own VMs; name one to see them: "
            "openimds requests --vm NAME",
        )


def _check_recording(recording: RequestRecording) -> None:
    """Check that requests are recorded.

    Raises:
        ProblemError: 409, with the command that turns recording on.
    """
    if not recording.per_vm:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            "This server does not record requests; start it with openimds serve --record 1000 "
            "(or OPENIMDS_RECORD=1000, or record = 1000 in openimds.toml) to keep the last "
            "1000 of each VM, or type openimds requests --follow to see them as they come",
        )


async def _filter(services: AdminServices, request: Request) -> _IsWanted:
    """Return the test of records that the query asks for.

    Raises:
        ProblemError: 400, no HTTP status, or no selector.
    """
    vm, endpoint, status = (row.read(request) for row in (_VM, _ENDPOINT, _STATUS))
    selector = query_selector(request)
    chosen = {*await choose_names(services.fleet_service, selector)} if selector else None
    scope, service = scope_of(request), services.fleet_service
    return lambda record: (
        vm in {None, record.vm}
        and (chosen is None or record.vm in chosen)
        and has(service, scope, record.vm)
        and endpoint in {None, record.endpoint}
        and status in {None, record.status}
    )


def request_view(record: Record) -> RequestView:
    """Return a record as the admin API shows it."""
    headers: dict[str, str] = {}
    for name, value in record.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    until_s = record.token_until_s
    return RequestView(
        number=record.number,
        at=date_of(record.utc_s),
        steady_s=round(record.now_s, 6),
        vm=record.vm,
        peer=record.peer,
        method=record.method,
        target=record.target,
        headers=headers,
        endpoint=record.endpoint,
        status=record.status,
        reason=record.reason,
        size=record.size_bytes,
        body=record.body.decode("utf-8", "replace"),
        sent=record.sent.decode("utf-8", "replace"),
        token_until=date_of(until_s) if until_s else None,
        fault=record.fault,
    )


def _finding_view(finding: Finding) -> FindingView:
    row = rule(finding.rule)
    return FindingView(
        rule=finding.rule,
        verdict=row.verdict,
        vm=finding.vm,
        times=finding.times,
        numbers=finding.numbers,
        example=finding.example,
        says=row.says,
        evidence=row.evidence,
    )


def _view_for(request: Request) -> _Show:
    """Return the view of records for the role of a request's token."""
    return request_view if is_admin(request) else _view_without_document


def _view_without_document(record: Record) -> RequestView:
    """Return a record without a body that may have user data or identities."""
    view = request_view(record)
    is_document = record.endpoint in _DOCUMENTS and not record.reason
    return structs.replace(view, body="") if is_document else view


def _event(view: RequestView) -> ServerSentEvent:
    data = msgspec.json.encode(view).decode()
    return ServerSentEvent(data, event="request", id=str(view.number))


_VM = QueryParameter(
    Parameter("vm", str, "Only requests of this VM; empty: of unknown callers."), "web-1"
)
_ENDPOINT = QueryParameter(
    Parameter("endpoint", str, "Only requests of this endpoint, by its key."), "instance"
)
_STATUS = QueryParameter(
    Parameter(
        "status",
        int,
        "Only requests with this status; 0: a fault left them without one.",
        minimum=0,
        maximum=599,
    ),
    400,
)
_CHOICES = (*SELECTION, _ENDPOINT, _STATUS)
"""The parameters that choose some of the requests of all VMs."""
_PRIMARY = QueryParameter(
    Parameter(
        "primaryAddress",
        bool,
        "Report requests from other private addresses of a VM than its first, too.",
    ),
    example=True,
)
_RULES = QueryParameter(
    Parameter(
        "rules",
        bool,
        "Name the rules that each listed request breaks, judged by the listed requests alone.",
    ),
    example=True,
)
_NEWEST = QueryParameter(
    Parameter(
        "newest",
        bool,
        f"List the newest requests instead: of a VM, or among the last {MOST_NEWEST} of all.",
    ),
    example=True,
)
_SINCE = QueryParameter(
    Parameter(
        "since", int, "Begin with the records after this number.", minimum=0, maximum=MOST_NUMBER
    ),
    0,
)
_TARGET = "/metadata/instance/compute/name?api-version=2021-02-01"
_REQUEST = RequestView(
    number=1,
    at="2026-11-22T19:54:46.000Z",
    steady_s=1000.0,
    vm="web-1",
    peer="10.0.0.4",
    method="GET",
    target=_TARGET,
    headers={"host": "169.254.169.254", "metadata": "true"},
    endpoint="instance",
    status=400,
    reason="leaf_needs_text",
    size=84,
    body='{ "error": "Bad request. ..." }',
    sent="",
    token_until=None,
    fault="",
)
_FINDING = Finding("leaf_needs_text", "web-1", 1, (1,), f"GET {_TARGET} 400")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_requests",
        method="GET",
        path="/v1/requests",
        tag=Tag.REQUESTS,
        role=Role.READ,
        summary="List the recorded requests of guests, oldest first",
        description="The server has to run with --record; else it answers 409. In a fleet of "
        "hosts, `vm` is needed: the host of this VM is asked, which has to run with --record.",
        handler=list_requests,
        answers={OK: Content(RequestPage, RequestPage([_REQUEST], None))},
        problems=(BAD, CONFLICT),
        queries=(LIMIT, CURSOR, _VM, *_CHOICES, _NEWEST, _RULES),
    ),
    Operation(
        name="clear_requests",
        method="DELETE",
        path="/v1/requests",
        tag=Tag.REQUESTS,
        role=Role.OPERATE,
        summary="Drop the recorded requests",
        description="Not in a fleet of hosts: each host keeps its own.",
        handler=clear_requests,
        answers={GONE: None},
        problems=(CONFLICT,),
    ),
    Operation(
        name="report_requests",
        method="GET",
        path="/v1/requests/report",
        tag=Tag.REQUESTS,
        role=Role.READ,
        summary="Report requests that Azure refuses or its documents advise against",
        handler=report_requests,
        answers={OK: Content(FindingPage, lambda: FindingPage([_finding_view(_FINDING)], None))},
        problems=(BAD, CONFLICT),
        queries=(_VM, *SELECTION, _PRIMARY),
    ),
    Operation(
        name="follow_requests",
        method="GET",
        path="/v1/requests/feed",
        tag=Tag.REQUESTS,
        role=Role.READ,
        summary="Follow requests as server-sent events",
        description="Events named `request`, whether requests are recorded or not. Last-Event-ID "
        "or `since` continues from the recorded ones. A selector chooses at the start. Not in a "
        "fleet of hosts.",
        handler=follow_requests,
        answers={OK: Content(RequestView, _REQUEST, (EVENT_STREAM,))},
        problems=(BAD, CONFLICT),
        queries=(_SINCE, _VM, *SELECTION, _ENDPOINT, _STATUS),
        headers=("Last-Event-ID",),
    ),
)
