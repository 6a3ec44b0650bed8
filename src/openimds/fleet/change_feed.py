"""A feed of changes and log entries, bounded by number and octets."""

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from openimds.fleet.store.port import Change, LogEntry

MOST_ITEMS = 1000
MAX_BYTES = 1 << 20
"""The octets that wait for a reader; one who is slower reads the store from its position on."""
_ITEM_BYTES = 300
"""The approximate size of an item without its bodies and names."""


class ChangeFeed:
    """The items that a reader has not read.

    None is their end, or tells that some were lost.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._items: asyncio.Queue[Change | LogEntry | None] = asyncio.Queue()
        self._size_bytes = 0
        self._has_lost = False

    def offer(self, item: Change | LogEntry) -> None:
        """Give an item to the reader; None tells a slow one to read the store."""
        if self._has_lost:
            return
        size = _size(item)
        is_full = self._items.qsize() >= MOST_ITEMS or self._size_bytes + size > MAX_BYTES
        if is_full and self._items.qsize():
            self._has_lost = True
            self._items.put_nowait(None)
            return
        self._size_bytes += size
        self._items.put_nowait(item)

    def end(self) -> None:
        """Send the end, in the place of all that waits."""
        while not self._items.empty():
            self._items.get_nowait()
        self._has_lost = True
        self._items.put_nowait(None)

    async def get(self) -> Change | LogEntry | None:
        """Return the next item, or None."""
        item = await self._items.get()
        if item is not None:
            self._size_bytes -= _size(item)
        return item


class ChangeFeeds:
    """The feeds of all readers; callers bound their number."""

    def __init__(self) -> None:
        """Begin without readers."""
        self.readers: set[ChangeFeed] = set()

    def subscribe(self) -> ChangeFeed:
        """Return a feed of changes and log entries from now on; None: some were lost."""
        feed = ChangeFeed()
        self.readers.add(feed)
        return feed

    def unsubscribe(self, feed: ChangeFeed) -> None:
        """End a feed."""
        self.readers.discard(feed)

    def offer(self, items: Iterable[Change | LogEntry]) -> None:
        """Give items to every reader, without the bodies of changes."""
        for item in items:
            shown = without_bodies(item) if isinstance(item, Change) else item
            for feed in self.readers:
                feed.offer(shown)

    def end(self) -> None:
        """Send every reader the end."""
        for feed in self.readers:
            feed.end()


def without_bodies(change: Change) -> Change:
    """Return a change without its bodies, but with whether there was a VM."""
    return replace(change, before=None, after=None if change.after is None else b"")


def _size(item: Change | LogEntry) -> int:
    return _ITEM_BYTES + (len(item.body) if isinstance(item, LogEntry) else len(item.name))
