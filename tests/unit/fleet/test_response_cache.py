from openimds.fleet.response_cache import MOST_PER_VM, Replies, Shelf


def keep(shelf: Shelf[int], replies: Replies[int], *keys: int, size: int = 10) -> None:
    for key in keys:
        shelf.keep(replies, b"%d" % key, key, size)


def test_what_is_kept_is_found() -> None:
    shelf: Shelf[int] = Shelf(100)
    replies: Replies[int] = Replies()
    keep(shelf, replies, 1, 2)
    assert replies.by_request == {b"1": 1, b"2": 2}
    assert (shelf.held_bytes, len(shelf)) == (20, 1)


def test_beyond_its_size_the_one_that_grew_longest_ago_is_dropped() -> None:
    shelf: Shelf[int] = Shelf(50)
    first: Replies[int] = Replies()
    second: Replies[int] = Replies()
    third: Replies[int] = Replies()
    keep(shelf, first, 1, 2)
    keep(shelf, second, 1, 2)
    keep(shelf, first, 3)
    keep(shelf, third, 1)
    assert (len(first.by_request), len(second.by_request), len(third.by_request)) == (3, 0, 1)
    assert shelf.held_bytes == 40


def test_one_reply_larger_than_the_shelf_is_not_kept() -> None:
    shelf: Shelf[int] = Shelf(50)
    replies: Replies[int] = Replies()
    keep(shelf, replies, 1, size=51)
    assert replies.by_request == {}
    assert (shelf.held_bytes, len(shelf)) == (0, 0)


def test_one_vm_cannot_fill_the_shelf() -> None:
    shelf: Shelf[int] = Shelf(1 << 30)
    replies: Replies[int] = Replies()
    keep(shelf, replies, *range(MOST_PER_VM + 1))
    assert list(replies.by_request.values()) == [MOST_PER_VM]
    assert shelf.held_bytes == 10


def test_dropping_twice_is_dropping_once() -> None:
    shelf: Shelf[int] = Shelf(100)
    replies: Replies[int] = Replies()
    keep(shelf, replies, 1)
    shelf.drop(replies)
    shelf.drop(replies)
    assert (shelf.held_bytes, len(shelf), replies.held_bytes) == (0, 0, 0)
