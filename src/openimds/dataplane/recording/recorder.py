"""A ring of requests for each VM, and feeds for subscribers."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import takewhile
from typing import Protocol, TypeAlias

from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.recording import redact
from openimds.dataplane.response_bytes import PreparedResponse
from openimds.protocol.request_log import Record

MAX_BYTES = 64 << 20
"""The bound on the size of all records; beyond it the oldest are dropped, of any VM."""
_CHUNKED, _LAST_CHUNK = b"\r\nTransfer-Encoding: chunked", b"\r\n0\r\n\r\n"
_RECORD_BYTES, _HEADER_BYTES = 900, 180
"""The approximate size of a record without its texts, and of each header in it."""
_FEED_LENGTH = 1000

Feed: TypeAlias = "asyncio.Queue[Record | None]"
"""Requests as they are answered; None: some were lost, or the server ends."""


class RecordTap(Protocol):
    """Takes requests as they are answered, and must not wait."""

    def wants(self, number: int) -> bool:
        """Tell whether it takes the request of a number."""
        ...

    def take(self, record: Record) -> None:
        """Take a request."""
        ...


class Recorder:
    """Keeps the last `per_vm` requests of every VM; with 0 it only feeds its subscribers.

    It observes requests on the event loop. `records` without `since` may be called from other
    threads.
    """

    def __init__(
        self,
        per_vm: int,
        max_bytes: int = MAX_BYTES,
        on_active: Callable[[bool], None] = lambda _: None,
        tap: RecordTap | None = None,
    ) -> None:
        """Start empty; `on_active` is called when the recorder starts or stops needing requests.

        A tap gets the requests that it wants, whether they are kept or not.
        """
        self.per_vm, self._max_bytes = per_vm, max_bytes
        self.last_number = 0
        """The number of the last request, which is the count of all of them."""
        self.clears = 0
        """The number of times that all records were dropped."""
        self.size_bytes = 0
        self.on_active, self._tap = on_active, tap
        self._all: OrderedDict[int, Record] = OrderedDict()
        self._rings: dict[str, deque[Record]] = {}
        self._feeds: set[Feed] = set()

    @property
    def record_count(self) -> int:
        """The number of records kept."""
        return len(self._all)

    @property
    def is_active(self) -> bool:
        """Whether requests are kept, or a subscriber or a tap follows them."""
        return self.per_vm > 0 or self._tap is not None or bool(self._feeds)

    def observe(self, observed: ObservedRequest, response: PreparedResponse, data: bytes) -> None:
        """Keep a request with its response, and feed the subscribers."""
        self.last_number += 1
        tap = self._tap if self._tap and self._tap.wants(self.last_number) else None
        if not (tap or self.per_vm or self._feeds):
            return
        record = _record(self.last_number, observed, response, data)
        if self.per_vm:
            self._keep(record)
        if tap:
            tap.take(record)
        for feed in self._feeds:
            _offer(feed, record)

    def records(self, vm: str | None = None, since: int = 0) -> tuple[Record, ...]:
        """Return the records of a VM, or all, oldest first; "" means unknown callers.

        Those after the number `since` are found in a time that grows with their count alone.
        """
        if not since:
            return tuple(self._all.values()) if vm is None else tuple(self._rings.get(vm, ()))
        newest_first = reversed(self._all.values() if vm is None else self._rings.get(vm, ()))
        return tuple(takewhile(lambda record: record.number > since, newest_first))[::-1]

    def clear(self) -> None:
        """Drop every record; the numbers go on."""
        self.clears += 1
        self._all.clear()
        self._rings.clear()
        self.size_bytes = 0

    def subscribe(self) -> Feed:
        """Return a feed of requests from now on; end it with `unsubscribe`."""
        was_active = self.is_active
        feed: Feed = asyncio.Queue(_FEED_LENGTH)
        self._feeds.add(feed)
        if not was_active:
            self.on_active(self.is_active)
        return feed

    def unsubscribe(self, feed: Feed) -> None:
        """End a feed."""
        self._feeds.discard(feed)
        if not self.is_active:
            self.on_active(self.is_active)

    def end_feeds(self) -> None:
        """Send every subscriber the end of its feed."""
        for feed in self._feeds:
            while not feed.empty():
                feed.get_nowait()
            feed.put_nowait(None)

    def _keep(self, record: Record) -> None:
        ring = self._rings.setdefault(record.vm, deque())
        ring.append(record)
        self._all[record.number] = record
        self.size_bytes += _size_bytes(record)
        if len(ring) > self.per_vm:
            self._drop(ring[0])
        while self.size_bytes > self._max_bytes:
            self._drop(next(iter(self._all.values())))

    def _drop(self, record: Record) -> None:
        """Drop the oldest record of a ring."""
        ring = self._rings[record.vm]
        ring.popleft()
        if not ring:
            del self._rings[record.vm]
        del self._all[record.number]
        self.size_bytes -= _size_bytes(record)


def _record(
    number: int, observed: ObservedRequest, response: PreparedResponse, data: bytes
) -> Record:
    key = response.count.key
    body = _body(data)
    is_refusal = bool(key.reason) and not observed.fault
    return Record(
        number=number,
        utc_s=observed.utc_s,
        now_s=observed.now_s,
        vm=observed.vm,
        peer=observed.peer,
        method=observed.method,
        target=redact.target(observed.target),
        headers=redact.headers(observed.headers),
        endpoint=key.endpoint,
        status=key.status,
        reason=key.reason,
        size_bytes=len(body),
        body=redact.body(key.endpoint, body, is_refusal=is_refusal),
        sent=redact.sent(key.endpoint, observed.body),
        token_until_s=redact.token_until_s(key.endpoint, body),
        fault=observed.fault,
    )


def _body(data: bytes) -> bytes:
    """Return the body of a response, without the frame of its only chunk."""
    head, _, body = data.partition(b"\r\n\r\n")
    if _CHUNKED in head:
        body = body.partition(b"\r\n")[2].removesuffix(_LAST_CHUNK)
    return body


def _size_bytes(record: Record) -> int:
    texts = len(record.target) + len(record.body) + len(record.sent)
    return _RECORD_BYTES + _HEADER_BYTES * len(record.headers) + texts


def _offer(feed: Feed, record: Record) -> None:
    """Give a record to a feed; a slow reader gets None for lost records."""
    if feed.qsize() < _FEED_LENGTH - 1:
        feed.put_nowait(record)
    elif not feed.full():
        feed.put_nowait(None)
