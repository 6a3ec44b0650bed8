"""The recorded requests of a host in another process."""

from asyncio import Queue
from collections.abc import Callable, Mapping

from openimds.protocol.lint import Record
from openimds.server.seam.channel import Channel
from openimds.server.seam.messages import (
    ClearRecords,
    FollowRecords,
    ReadFindings,
    ReadLastNumber,
    ReadRecords,
)

_FEED_LENGTH = 1000


class RemoteRecording:
    """The recorded requests of a host in another process."""

    is_of_hosts = False

    def __init__(self, channel: Callable[[], Channel], per_vm: int) -> None:
        """Read over a channel from a host that keeps so many records of each VM."""
        self._channel, self.per_vm = channel, per_vm
        self.clears = 0
        """The number of times that all records were dropped from here."""
        self._feeds: set[Queue[Record | None]] = set()

    async def last_number(self) -> int:
        """Return the number of the last request."""
        number: int = await self._channel().call(ReadLastNumber())
        return number

    async def records(self, vm: str | None = None, since: int = 0) -> tuple[Record, ...]:
        """Return records after a number, oldest first: of a VM, unknown callers (""), or all."""
        records: list[Record] = []
        while True:
            since = records[-1].number if records else since
            part: tuple[Record, ...] = await self._channel().call(ReadRecords(vm, since))
            if not part:
                return tuple(records)
            records += part

    async def clear(self) -> None:
        """Drop all records."""
        await self._channel().call(ClearRecords())
        self.clears += 1  # Afterwards: records that are read meanwhile may be those of before.

    async def findings(self) -> Mapping[str, int]:
        """Return the number of records that break each rule of the client checks."""
        found: dict[str, int] = await self._channel().call(ReadFindings())
        return found

    def subscribe(self) -> "Queue[Record | None]":
        """Return a feed of the records from now on."""
        feed: Queue[Record | None] = Queue(_FEED_LENGTH)
        self._feeds.add(feed)
        if len(self._feeds) == 1:
            self._channel().post(FollowRecords(is_on=True))
        return feed

    def unsubscribe(self, feed: "Queue[Record | None]") -> None:
        """End a feed."""
        self._feeds.discard(feed)
        if not self._feeds:
            self._channel().post(FollowRecords(is_on=False))

    def take(self, record: Record) -> None:
        """Give a record to every feed; a slow reader gets None for lost records."""
        for feed in self._feeds:
            if feed.qsize() < _FEED_LENGTH - 1:
                feed.put_nowait(record)
            elif not feed.full():
                feed.put_nowait(None)

    def end_feeds(self) -> None:
        """Send every subscriber the end of its feed."""
        for feed in self._feeds:
            while not feed.empty():
                feed.get_nowait()
            feed.put_nowait(None)
