"""The operations on what guests have asked."""

import asyncio
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Protocol, TypeAlias

import msgspec.json
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.handlers.vms import whole
from openimds.admin.operations import DEFAULT_PAGE, MOST_PER_PAGE
from openimds.admin.operations_requests import LEAST_STATUS, MOST_STATUS
from openimds.admin.problem import ProblemError
from openimds.events.log_format import date_of
from openimds.facts.lint import rule
from openimds.protocol.lint import Finding, Record, report

_MOST_NUMBER = 10**15
_PLACE = re.compile(r"[0-9]{1,15}")
_ANY = -1

Feed: TypeAlias = "asyncio.Queue[Record | None]"


class RequestRecording(Protocol):
    """RequestHandlers that are remembered, and those that come."""

    @property
    def per_vm(self) -> int:
        """How many are remembered of a VM; 0: none."""
        ...

    @property
    def last_number(self) -> int:
        """The number of the last request."""
        ...

    def records(self, vm: str | None = None) -> tuple[Record, ...]:
        """Return what is remembered, oldest first."""
        ...

    def clear(self) -> None:
        """Forget all of it."""
        ...

    def subscribe(self) -> Feed:
        """Return a feed from now on; None in it is its end."""
        ...

    def unsubscribe(self, feed: Feed) -> None:
        """End a feed."""
        ...


class RequestHandlers:
    """The handlers that show what guests have asked."""

    def __init__(self, recording: RequestRecording) -> None:
        """Show what is recorded there."""
        self._recording = recording

    async def list_requests(self, request: Request) -> Response:
        """List what was asked and answered, oldest first."""
        limit = whole(request, "limit", DEFAULT_PAGE, 1, MOST_PER_PAGE)
        since = whole(request, "cursor", 0, 0, _MOST_NUMBER)
        is_wanted = _filter(request)
        found = [one for one in self._held(request, since) if is_wanted(one)]
        after = str(found[limit - 1].number) if len(found) > limit else None
        return _json({"items": [view(one) for one in found[:limit]], "next": after})

    async def clear_requests(self, _: Request) -> Response:
        """Forget what was recorded."""
        self._must_record()
        self._recording.clear()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def report_requests(self, request: Request) -> Response:
        """Say what clients did that they should not."""
        records = self._held(request, 0)
        # Many requests take a while to look through, and guests are to be answered meanwhile.
        found = await asyncio.to_thread(report, records)
        return _json({"items": [finding(one) for one in found], "next": None})

    async def follow_requests(self, request: Request) -> Response:
        """Follow requests from a number, or from now on."""
        since = whole(request, "since", _ANY, 0, _MOST_NUMBER)
        last = request.headers.get("last-event-id", "")
        if _PLACE.fullmatch(last):
            since = int(last)
        return EventSourceResponse(self._events(since, _filter(request)), ping=15)

    async def _events(self, since: int, is_wanted: "_Wanted") -> AsyncIterator[ServerSentEvent]:
        feed = self._recording.subscribe()
        last = self._recording.last_number
        try:
            if since != _ANY:
                # A number of another life: this server has not come so far.
                for record in _after(self._recording.records(), 0 if since > last else since):
                    if is_wanted(record):
                        yield _event(record)
            while (one := await feed.get()) is not None:
                if is_wanted(one):
                    yield _event(one)
            # Too slow, or the end: the client comes back with Last-Event-ID.
        finally:
            self._recording.unsubscribe(feed)

    def _held(self, request: Request, since: int) -> tuple[Record, ...]:
        self._must_record()
        return _after(self._recording.records(request.query_params.get("vm")), since)

    def _must_record(self) -> None:
        """Refuse where nothing is recorded.

        Raises:
            ProblemError: 409, with what to type.
        """
        if not self._recording.per_vm:
            raise ProblemError(
                HTTPStatus.CONFLICT,
                "This server does not record requests; start it with openimds serve --record 1000 "
                "(or OPENIMDS_RECORD=1000, or record = 1000 in openimds.toml) to keep the last "
                "1000 of each VM, or type openimds requests --follow to see them as they come",
            )


class LintSummary:
    """How many requests break each rule, worked out again when there are new ones."""

    def __init__(self, recording: RequestRecording) -> None:
        """Judge what is recorded there."""
        self._recording = recording
        self._known: tuple[tuple[int, int], Mapping[str, int]] = ((0, 0), {})
        self._turn = asyncio.Lock()

    async def by_rule(self) -> Mapping[str, int]:
        """Return the number of requests that break each rule."""
        # Anybody may ask for metrics, and as often as he likes: one after the other.
        async with self._turn:
            records = self._recording.records()
            place = (self._recording.last_number, len(records))
            if self._known[0] != place:
                counts: Counter[str] = Counter()
                for one in await asyncio.to_thread(report, records):
                    counts[one.rule] += one.times
                self._known = (place, counts)
            return self._known[1]


_Wanted: TypeAlias = Callable[[Record], bool]


def _filter(request: Request) -> _Wanted:
    """Return what tells whether a record is wanted.

    Raises:
        ProblemError: 400, the status is none.
    """
    said = request.query_params
    vm, endpoint = said.get("vm"), said.get("endpoint")
    status = whole(request, "status", _ANY, LEAST_STATUS, MOST_STATUS)
    return lambda record: (
        (vm is None or record.vm == vm)
        and (endpoint is None or record.endpoint == endpoint)
        and status in {_ANY, record.status}
    )


def _after(records: tuple[Record, ...], number: int) -> tuple[Record, ...]:
    return records[bisect_right(records, number, key=lambda record: record.number) :]


def view(record: Record) -> dict[str, object]:
    """Return a record as the admin API shows it."""
    headers: dict[str, str] = {}
    for name, value in record.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    until_s = record.token_until_s
    return {
        "number": record.number,
        "at": date_of(record.utc_s),
        "steady_s": round(record.now_s, 6),
        "vm": record.vm,
        "peer": record.peer,
        "method": record.method,
        "target": record.target,
        "headers": headers,
        "endpoint": record.endpoint,
        "status": record.status,
        "reason": record.reason,
        "size": record.size_bytes,
        "body": record.body.decode("utf-8", "replace"),
        "sent": record.sent.decode("utf-8", "replace"),
        "token_until": date_of(until_s) if until_s else None,
        "fault": record.fault,
    }


def finding(one: Finding) -> dict[str, object]:
    """Return a finding, with what its rule says, as the admin API shows it."""
    row = rule(one.rule)
    return {
        "rule": one.rule,
        "verdict": row.verdict,
        "vm": one.vm,
        "times": one.times,
        "numbers": one.numbers,
        "example": one.example,
        "says": row.says,
        "evidence": row.evidence,
    }


def _event(record: Record) -> ServerSentEvent:
    data = msgspec.json.encode(view(record)).decode()
    return ServerSentEvent(data, event="request", id=str(record.number))


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
