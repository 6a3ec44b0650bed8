"""The feed of one reader: bounded by items and octets."""

import asyncio

from openimds.fleet.change_feed import MAX_BYTES, MOST_ITEMS, ChangeFeed, without_bodies
from openimds.fleet.store.port import Change, LogEntry


def change(revision: int) -> Change:
    return Change(revision, "2026", "me", "a", b"before", b"after", "api")


def entry(number: int, size: int) -> LogEntry:
    return LogEntry(number, "2026", "me", "id", b"x" * size)


def read_all(feed: ChangeFeed) -> list[int | None]:
    """Return the numbers of what waits, up to the first None."""

    async def read() -> list[int | None]:
        found: list[int | None] = []
        while not found or found[-1] is not None:
            item = await asyncio.wait_for(feed.get(), 5)
            if isinstance(item, Change):
                found.append(item.revision)
            else:
                found.append(item.number if item else None)
        return found

    return asyncio.run(read())


def test_feed_shows_whether_a_vm_was_there_without_its_bodies() -> None:
    put, removed = without_bodies(change(1)), Change(2, "2026", "me", "a", b"x", None, "api")
    assert (put.before, put.after, without_bodies(removed).after) == (None, b"", None)


def test_reader_beyond_the_octets_gets_none() -> None:
    feed = ChangeFeed()
    for number in range(1, 12):
        feed.offer(entry(number, MAX_BYTES // 10))
    assert read_all(feed) == [*range(1, 10), None]


def test_reader_beyond_the_items_gets_none_once() -> None:
    feed = ChangeFeed()
    for number in range(1, MOST_ITEMS + 10):
        feed.offer(change(number))
    assert read_all(feed) == [*range(1, MOST_ITEMS + 1), None]


def test_item_larger_than_the_bound_passes_alone() -> None:
    feed = ChangeFeed()
    feed.offer(entry(1, 2 * MAX_BYTES))
    feed.offer(entry(2, 1))
    assert read_all(feed) == [1, None]


def test_octets_that_were_read_make_room() -> None:
    feed = ChangeFeed()

    async def work() -> None:
        for number in range(30):
            feed.offer(entry(number + 1, MAX_BYTES // 3))
            item = await feed.get()
            assert isinstance(item, LogEntry)
            assert item.number == number + 1

    asyncio.run(work())


def test_end_takes_the_place_of_what_waits() -> None:
    feed = ChangeFeed()
    feed.offer(change(1))
    feed.end()
    feed.offer(change(2))
    assert read_all(feed) == [None]
