"""The response cache: prepared responses per VM, bounded over all VMs."""

from collections import OrderedDict
from typing import Generic, TypeVar

R = TypeVar("R")

MAX_PER_VM = 512
"""Responses cached for one VM: many more than the paths and versions that a client requests."""


class CachedResponses(Generic[R]):
    """The cached responses of one VM; a look-up is one of a dict."""

    __slots__ = ("by_request", "size_bytes")

    def __init__(self) -> None:
        """Start empty."""
        self.by_request: dict[bytes | str, R] = {}
        self.size_bytes = 0


class ResponseCache(Generic[R]):
    """The cached responses of all VMs, at most `max_bytes` of them.

    Beyond that, the VM whose last new response is the oldest loses all of its responses; they are
    prepared again on request.
    """

    def __init__(self, max_bytes: int) -> None:
        """Start empty; sizes are as the callers state them."""
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self.evictions = 0
        """The number of VMs whose responses were dropped for want of room."""
        self._order: OrderedDict[int, CachedResponses[R]] = OrderedDict()

    def put(
        self, responses: CachedResponses[R], request: bytes | str, response: R, size_bytes: int
    ) -> None:
        """Cache a response under a key of its request."""
        if len(responses.by_request) >= MAX_PER_VM:
            self.drop(responses)
        responses.by_request[request] = response
        responses.size_bytes += size_bytes
        self.size_bytes += size_bytes
        self._order[id(responses)] = responses
        self._order.move_to_end(id(responses))
        while self.size_bytes > self.max_bytes:
            self.drop(next(iter(self._order.values())))
            self.evictions += 1

    def drop(self, responses: CachedResponses[R]) -> None:
        """Drop the responses of one VM."""
        self.size_bytes -= responses.size_bytes
        responses.by_request.clear()
        responses.size_bytes = 0
        self._order.pop(id(responses), None)

    def __len__(self) -> int:
        """Return the number of VMs with cached responses."""
        return len(self._order)
