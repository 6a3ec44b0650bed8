"""The operations on the changes of VMs: the audit log, and the feed."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, TypeAlias, cast

import msgspec.json
from msgspec import Raw, Struct
from msgspec.structs import asdict
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from openimds.admin.guarded_members import redacted
from openimds.admin.handlers.events import is_entry_shown
from openimds.admin.operation import (
    BAD,
    EVENT_STREAM,
    OK,
    STORE,
    Answer,
    Content,
    Operation,
    QueryParameter,
    Tag,
)
from openimds.admin.pages import CURSOR, LIMIT, MOST_NUMBER, Page, fitting, number_cursor, read_page
from openimds.admin.problem import gone
from openimds.admin.roles import Role, is_admin
from openimds.admin.services import AdminServices
from openimds.admin.token_scope import has, scope_of
from openimds.errors import BAD_JSON
from openimds.events.log_format import Moment, line
from openimds.fleet.change_feed import without_bodies
from openimds.fleet.selection import choose_names
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import Change, Log, LogEntry
from openimds.parameters import Parameter
from openimds.vm.selector import Selector

PAGE = 20
"""The number of entries that a feed reads from the store at once."""
_Show: TypeAlias = Callable[[bytes | None], dict[str, Any] | None]
_POSITION = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


class ChangeView(Struct, frozen=True, kw_only=True):
    """A change of a VM; `who` made it, and `origin` manages the VM."""

    revision: int
    at: Moment
    who: str
    name: str
    kind: Literal["put", "remove"]
    origin: str


class AuditEntry(ChangeView, frozen=True, kw_only=True):
    """A change with the VM before and after it; null if none could be read."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(Page[AuditEntry], frozen=True):
    """A page of the audit log."""


async def list_audit(services: AdminServices, request: Request) -> Answer:
    """List the changes of VMs, oldest first."""
    limit, since = LIMIT.read(request), number_cursor(request)
    fleet_service = services.fleet_service
    read = partial(read_page, fleet_service.store.changes, place=_revision_of, size=_size)
    changes: list[Change] = await fleet_service.call_store(read, since, limit)
    pruned = await _pruned(fleet_service, Log.CHANGES)
    if since < pruned and CURSOR.read(request):
        raise gone(pruned, "changes", "Begin anew without a cursor, with the oldest kept change")
    page = changes[: min(limit, fitting(map(_size, changes)))]
    scope = scope_of(request)
    cursor = str(page[-1].revision) if len(changes) > len(page) else None
    show = _raw if is_admin(request) else _redacted
    shown = [change for change in page if has(fleet_service, scope, change.name)]
    return AuditPage([_audit_entry(change, show) for change in shown], cursor)


async def follow_changes(services: AdminServices, request: Request) -> Answer:
    """Follow changes of VMs and steps of events after a position, or from now on."""
    position = FeedPosition(_SINCE.read(request), None)
    last_id = request.headers.get("last-event-id", "")
    if match := _POSITION.fullmatch(last_id):
        position = FeedPosition(*(min(int(text or 0), MOST_NUMBER) for text in match.groups()))
    fleet_service = services.fleet_service
    # A revision above the last one is of another store: begin with the first change.
    if position.revision and position.revision > fleet_service.revision:
        position.revision = 0
    if position.number and position.number > fleet_service.last_log_entry:
        position.number = 0
    await _check_kept(fleet_service, position)
    vms = await VisibleVms.of(fleet_service, scope_of(request))
    return EventSourceResponse(_visible(_feed(fleet_service, position), vms), ping=15)


async def _check_kept(fleet_service: FleetService, position: "FeedPosition") -> None:
    """Check that the entries after a position are kept.

    Raises:
        ProblemError: 410, some were pruned.
    """
    now = f"{fleet_service.revision}-{fleet_service.last_log_entry}"
    remedy = (
        "List the VMs (GET /v1/vms) and events (GET /v1/events) anew, then follow the changes "
        f"with Last-Event-ID: {now}"
    )
    for log, number, kind in (
        (Log.CHANGES, position.revision, "changes"),
        (Log.EVENTS, position.number, "entries of the event log"),
    ):
        pruned = await _pruned(fleet_service, log)
        if number is not None and number < pruned:
            raise gone(pruned, kind, remedy)


async def _pruned(fleet_service: FleetService, log: Log) -> int:
    """Return the number of the last pruned entry of a log."""
    return (await fleet_service.call_store(fleet_service.store.span, log)).pruned


async def _visible(
    feed: AsyncGenerator[tuple[Change | LogEntry, ServerSentEvent], None], vms: "VisibleVms"
) -> AsyncIterator[ServerSentEvent]:
    """Yield the server-sent events of those items that a token may see."""
    async with aclosing(feed):
        async for item, shown in feed:
            if vms.has(item):
                yield shown


async def _feed(
    fleet_service: FleetService, position: "FeedPosition"
) -> AsyncGenerator[tuple[Change | LogEntry, ServerSentEvent], None]:
    feed, store = fleet_service.feeds.subscribe(), fleet_service.store
    since, number = position.revision, position.number
    at = FeedPosition(
        fleet_service.revision if since is None else since,
        fleet_service.last_log_entry if number is None else number,
    )
    try:
        while since is not None and (
            changes := await fleet_service.call_store(_page, fleet_service, at.revision)
        ):
            if (at.revision or 0) < await _pruned(fleet_service, Log.CHANGES):
                return  # Some were pruned meanwhile: the client resumes, and gets 410.
            for change in changes:
                yield change, at.advance(change)
        while number is not None and (
            entries := await fleet_service.call_store(store.log_entries, at.number, PAGE)
        ):
            if (at.number or 0) < await _pruned(fleet_service, Log.EVENTS):
                return
            for entry in entries:
                yield entry, at.advance(entry)
        while (item := await feed.get()) is not None:
            if not at.is_past(item):
                yield item, at.advance(item)
        # The reader was too slow, or the server ends: the client resumes with Last-Event-ID.
    finally:
        fleet_service.feeds.unsubscribe(feed)


def _page(fleet_service: FleetService, revision: int) -> list[Change]:
    """Return the changes after a revision, without the bodies that a feed does not show."""
    return [*map(without_bodies, fleet_service.store.changes(revision, PAGE))]


class VisibleVms:
    """The VMs whose changes a feed shows to its token.

    It shows the change by which a VM leaves the scope or the fleet, and none after it.
    """

    def __init__(self, service: FleetService, scope: Selector | None, names: Iterable[str]) -> None:
        """Begin with the names of the VMs that are in the scope."""
        self._service, self._scope, self._names = service, scope, {*names}

    @classmethod
    async def of(cls, service: FleetService, scope: Selector | None) -> "VisibleVms":
        """Return the VMs that are in a scope at present."""
        return cls(service, scope, await choose_names(service, scope) if scope else ())

    def has(self, item: Change | LogEntry) -> bool:
        """Tell whether a feed shows a change, or an entry of the event log."""
        if isinstance(item, LogEntry):
            return is_entry_shown(self._service, self._scope, item)
        if self._scope is None:
            return True
        if has(self._service, self._scope, item.name):
            self._names.add(item.name)
            return True
        if item.name in self._names:
            self._names.discard(item.name)
            return True
        return False


class FeedPosition:
    """The position of a feed's reader: the last revision, and the last event log number."""

    def __init__(self, revision: int | None, number: int | None) -> None:
        """Begin after these; None is from now on."""
        self.revision, self.number = revision, number

    def is_past(self, item: Change | LogEntry) -> bool:
        """Tell whether the reader has got this item."""
        if isinstance(item, Change):
            return item.revision <= (self.revision or 0)
        return item.number <= (self.number or 0)

    def advance(self, item: Change | LogEntry) -> ServerSentEvent:
        """Return the server-sent event of an item, and move behind it."""
        if isinstance(item, Change):
            self.revision = item.revision
            kind, data = "change", msgspec.json.encode(_change_view(item))
        else:
            self.number = item.number
            kind, data = "event", line(item)
        # Before the first event a position is a revision alone.
        position = f"{self.revision}-{self.number}" if self.number else str(self.revision)
        return ServerSentEvent(data.decode(), event=kind, id=position)


def _change_view(change: Change) -> ChangeView:
    kind: Literal["put", "remove"] = "remove" if change.after is None else "put"
    return ChangeView(
        revision=change.revision,
        at=change.at,
        who=change.who,
        name=change.name,
        kind=kind,
        origin=change.origin,
    )


def _revision_of(change: Change) -> int:
    return change.revision


def _size(change: Change) -> int:
    return len(change.before or b"") + len(change.after or b"")


def _audit_entry(change: Change, show: _Show) -> AuditEntry:
    before, after = show(change.before), show(change.after)
    return AuditEntry(**asdict(_change_view(change)), before=before, after=after)


def _redacted(body: bytes | None) -> dict[str, Any] | None:
    """Return a stored JSON object without secret members; None for a damaged one."""
    return None if body is None or _raw(body) is None else redacted(msgspec.json.decode(body))


def _raw(body: bytes | None) -> dict[str, Any] | None:
    """Return a stored JSON object as it is; None for a damaged one."""
    if body is None:
        return None
    try:
        is_object = isinstance(msgspec.json.decode(body), dict)
    except BAD_JSON:
        return None
    return cast("dict[str, Any]", Raw(body)) if is_object else None


_SINCE = QueryParameter(
    Parameter(
        "since", int, "Begin with the changes after this revision.", minimum=0, maximum=MOST_NUMBER
    ),
    0,
)
_CHANGE = ChangeView(
    revision=1,
    at="2026-11-22T19:54:46.000+00:00",
    who="api 127.0.0.1 token:local",
    name="web-1",
    kind="put",
    origin="api",
)
_AFTER = {"compute": {"vmSize": "Standard_D2s_v5"}}
_ENTRY = AuditEntry(**asdict(_CHANGE), before=None, after=_AFTER)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="follow_changes",
        method="GET",
        path="/v1/changes",
        tag=Tag.CHANGES,
        role=Role.READ,
        summary="Follow changes of VMs and steps of scheduled events",
        description="Server-sent events: `change` for a VM, `event` with an entry of the event "
        "log. Last-Event-ID or `since` continues a feed; 410 if entries after that position were "
        "pruned: then list VMs and events anew.",
        handler=follow_changes,
        answers={OK: Content(ChangeView, _CHANGE, (EVENT_STREAM,))},
        problems=(BAD, HTTPStatus.GONE, STORE),
        queries=(_SINCE,),
        headers=("Last-Event-ID",),
    ),
    Operation(
        name="list_audit",
        method="GET",
        path="/v1/audit",
        tag=Tag.CHANGES,
        role=Role.READ,
        summary="List the changes of VMs with before and after, oldest first",
        description="With a token that is bound to VMs, a page may have fewer items than `limit`, "
        "or none, before the last one: only `next: null` ends the list.",
        handler=list_audit,
        answers={OK: Content(AuditPage, AuditPage([_ENTRY], None))},
        problems=(BAD, HTTPStatus.GONE, STORE),
        queries=(LIMIT, CURSOR),
    ),
)
