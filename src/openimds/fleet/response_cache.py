"""Prepared replies, kept per VM and bounded over all VMs."""

from collections import OrderedDict
from typing import Generic, TypeVar

R = TypeVar("R")

MOST_PER_VM = 512
"""CachedResponses kept for one VM: many more than the paths and versions that a client asks for."""


class CachedResponses(Generic[R]):
    """The prepared replies of one VM; reading is a dict look-up."""

    __slots__ = ("by_request", "size_bytes")

    def __init__(self) -> None:
        """Begin empty."""
        self.by_request: dict[bytes | str, R] = {}
        self.size_bytes = 0


class ResponseCache(Generic[R]):
    """All prepared replies of a process, at most so many bytes of them.

    The VM that was given a new reply longest ago loses its replies first; they are prepared again
    when they are asked for.
    """

    def __init__(self, most_bytes: int) -> None:
        """Hold at most `most_bytes`, as the callers count them."""
        self.most_bytes = most_bytes
        self.size_bytes = 0
        self._order: OrderedDict[int, CachedResponses[R]] = OrderedDict()

    def keep(
        self, replies: CachedResponses[R], request: bytes | str, reply: R, size_bytes: int
    ) -> None:
        """Keep a reply for the next request of the same bytes."""
        if len(replies.by_request) >= MOST_PER_VM:
            self.drop(replies)
        replies.by_request[request] = reply
        replies.size_bytes += size_bytes
        self.size_bytes += size_bytes
        self._order[id(replies)] = replies
        self._order.move_to_end(id(replies))
        while self.size_bytes > self.most_bytes:
            self.drop(next(iter(self._order.values())))

    def drop(self, replies: CachedResponses[R]) -> None:
        """Forget the replies of one VM."""
        self.size_bytes -= replies.size_bytes
        replies.by_request.clear()
        replies.size_bytes = 0
        self._order.pop(id(replies), None)

    def __len__(self) -> int:
        """Return how many VMs have replies here."""
        return len(self._order)
