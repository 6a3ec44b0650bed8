"""A ring of requests for each VM, and feeds for those who follow."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeAlias

from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.recording import redact
from openimds.dataplane.response_bytes import PreparedResponse
from openimds.protocol.request_log import Record

MOST_BYTES = 64 << 20
"""What all records together may weigh; over it, the oldest of all go."""
_RECORD_BYTES, _HEADER_BYTES = 900, 180
"""What a record weighs without its texts, and what a header adds, about."""
_FEED_LENGTH = 1000

Feed: TypeAlias = "asyncio.Queue[Record | None]"
"""Requests as they are answered; None: some of them were lost, or this is the end."""


class Recorder:
    """Remembers the last `per_vm` requests of every VM; with 0 it only hands them on.

    It is told of requests on the event loop. `of` may be called from other threads.
    """

    def __init__(
        self,
        per_vm: int,
        most_bytes: int = MOST_BYTES,
        on_active: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Start empty; `on_active` is called when the first reader comes and the last leaves."""
        self.per_vm, self._most_bytes = per_vm, most_bytes
        self.last_number = 0
        """How many requests were noted, and the number of the last one."""
        self.size_bytes = 0
        self.on_active = on_active
        self._all: OrderedDict[int, Record] = OrderedDict()
        self._rings: dict[str, deque[Record]] = {}
        self._feeds: set[Feed] = set()

    @property
    def record_count(self) -> int:
        """How many records are held."""
        return len(self._all)

    @property
    def is_active(self) -> bool:
        """Whether anybody wants to know of requests."""
        return self.per_vm > 0 or bool(self._feeds)

    def observe(self, heard: ObservedRequest, reply: PreparedResponse, said: bytes) -> None:
        """Remember a request with its answer, and tell those who follow."""
        self.last_number += 1
        record = _record(self.last_number, heard, reply, said)
        if self.per_vm:
            self._keep(record)
        for feed in self._feeds:
            _offer(feed, record)

    def records(self, vm: str | None = None) -> tuple[Record, ...]:
        """Return what is held of a VM, or of everybody, oldest first; "" is those who are no VM."""
        return tuple(self._all.values()) if vm is None else tuple(self._rings.get(vm, ()))

    def clear(self) -> None:
        """Forget every request; their numbers go on."""
        self._all.clear()
        self._rings.clear()
        self.size_bytes = 0

    def subscribe(self) -> Feed:
        """Return a feed of requests from now on; it has to be given to `leave` in the end."""
        was_looking = self.is_active
        feed: Feed = asyncio.Queue(_FEED_LENGTH)
        self._feeds.add(feed)
        if not was_looking:
            self.on_active(self.is_active)
        return feed

    def unsubscribe(self, feed: Feed) -> None:
        """End a feed."""
        self._feeds.discard(feed)
        if not self.is_active:
            self.on_active(self.is_active)

    def end_feeds(self) -> None:
        """Tell everybody who follows that this is the end."""
        for feed in self._feeds:
            while not feed.empty():
                feed.get_nowait()
            feed.put_nowait(None)

    def _keep(self, record: Record) -> None:
        ring = self._rings.setdefault(record.vm, deque())
        ring.append(record)
        self._all[record.number] = record
        self.size_bytes += _weight(record)
        if len(ring) > self.per_vm:
            self._forget(ring[0])
        while self.size_bytes > self._most_bytes:
            self._forget(next(iter(self._all.values())))

    def _forget(self, record: Record) -> None:
        """Forget the oldest record of a ring."""
        ring = self._rings[record.vm]
        ring.popleft()
        if not ring:
            del self._rings[record.vm]
        del self._all[record.number]
        self.size_bytes -= _weight(record)


def _record(number: int, heard: ObservedRequest, reply: PreparedResponse, said: bytes) -> Record:
    counted = reply.count.of
    _, _, body = said.partition(b"\r\n\r\n")
    is_refusal = bool(counted.reason) and not heard.fault
    return Record(
        number=number,
        utc_s=heard.utc_s,
        now_s=heard.now_s,
        vm=heard.vm,
        peer=heard.peer,
        method=heard.method,
        target=redact.target(heard.target),
        headers=redact.headers(heard.headers),
        endpoint=counted.endpoint,
        status=counted.status,
        reason=counted.reason,
        size_bytes=len(body),
        body=redact.body(counted.endpoint, body, is_refusal=is_refusal),
        sent=redact.sent(counted.endpoint, heard.body),
        token_until_s=redact.token_until_s(counted.endpoint, body),
        fault=heard.fault,
    )


def _weight(record: Record) -> int:
    texts = len(record.target) + len(record.body) + len(record.sent)
    return _RECORD_BYTES + _HEADER_BYTES * len(record.headers) + texts


def _offer(feed: Feed, record: Record) -> None:
    """Give a record to a feed; a reader who is too slow is told that some are lost."""
    if feed.qsize() < _FEED_LENGTH - 1:
        feed.put_nowait(record)
    elif not feed.full():
        feed.put_nowait(None)
