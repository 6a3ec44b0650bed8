from openimds.fleet.response_cache import MAX_PER_VM, CachedResponses, ResponseCache


def keep(
    response_cache: ResponseCache[int], replies: CachedResponses[int], *keys: int, size: int = 10
) -> None:
    for key in keys:
        response_cache.put(replies, b"%d" % key, key, size)


def test_cached_response_is_found() -> None:
    response_cache: ResponseCache[int] = ResponseCache(100)
    replies: CachedResponses[int] = CachedResponses()
    keep(response_cache, replies, 1, 2)
    assert replies.by_request == {b"1": 1, b"2": 2}
    assert (response_cache.size_bytes, len(response_cache)) == (20, 1)


def test_vm_with_the_oldest_response_is_dropped_first() -> None:
    response_cache: ResponseCache[int] = ResponseCache(50)
    first: CachedResponses[int] = CachedResponses()
    second: CachedResponses[int] = CachedResponses()
    third: CachedResponses[int] = CachedResponses()
    keep(response_cache, first, 1, 2)
    keep(response_cache, second, 1, 2)
    keep(response_cache, first, 3)
    keep(response_cache, third, 1)
    assert (len(first.by_request), len(second.by_request), len(third.by_request)) == (3, 0, 1)
    assert response_cache.size_bytes == 40
    assert response_cache.evictions == 1


def test_response_larger_than_the_cache_is_not_kept() -> None:
    response_cache: ResponseCache[int] = ResponseCache(50)
    replies: CachedResponses[int] = CachedResponses()
    keep(response_cache, replies, 1, size=51)
    assert replies.by_request == {}
    assert (response_cache.size_bytes, len(response_cache)) == (0, 0)


def test_one_vm_cannot_fill_the_cache() -> None:
    response_cache: ResponseCache[int] = ResponseCache(1 << 30)
    replies: CachedResponses[int] = CachedResponses()
    keep(response_cache, replies, *range(MAX_PER_VM + 1))
    assert list(replies.by_request.values()) == [MAX_PER_VM]
    assert response_cache.size_bytes == 10


def test_second_drop_changes_nothing() -> None:
    response_cache: ResponseCache[int] = ResponseCache(100)
    replies: CachedResponses[int] = CachedResponses()
    keep(response_cache, replies, 1)
    response_cache.drop(replies)
    response_cache.drop(replies)
    assert (response_cache.size_bytes, len(response_cache), replies.size_bytes) == (0, 0, 0)
