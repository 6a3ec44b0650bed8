"""Poll sets that hang in any event loop: epoll, kqueue, or asyncio's own selector.

Events are the bits READ and WRITE, and LOST for a connection that both sides have closed. A socket
is reported for as long as it is ready (level-triggered), so nothing is lost by not reading: that is
how a connection waits for its turn.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Any, Protocol

READ, WRITE, LOST = 1, 4, 16
"""The values of Linux (EPOLLIN, EPOLLOUT, EPOLLHUP): the events of epoll need no translation."""
_MOST_EVENTS = 256
"""Events of one turn; the others are reported by the next one."""


class PollSet(Protocol):
    """Sockets, by their descriptors, and the events that are awaited on each."""

    def hang(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Have the loop call `turn` whenever a socket is ready."""

    def turn_soon(self) -> None:
        """Have the loop call `turn` once more, though no socket is ready.

        Twice is as once.
        """

    def register(self, descriptor: int, events: int) -> None:
        """Await events on a new socket."""

    def modify(self, descriptor: int, events: int) -> None:
        """Await other events, or none."""

    def unregister(self, descriptor: int) -> None:
        """Await nothing more of a socket."""

    def forget(self, descriptor: int) -> None:
        """As `unregister`, for a socket that no other process has and that is closed next."""

    def poll(self) -> list[tuple[int, int]]:
        """Return the sockets that are ready now, with their events."""
        ...

    def close(self) -> None:
        """Release the set."""


class _Hung:
    """A set that hangs in a loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: Callable[[], None] = lambda: None
        self._is_turn_due = False

    def hang(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Have the loop call `turn` whenever a socket is ready."""
        self._loop, self._turn = loop, turn

    def turn_soon(self) -> None:
        """Have the loop call `turn` once more, also if no socket is ready."""
        assert self._loop is not None, "hung"
        if not self._is_turn_due:
            self._is_turn_due = True
            self._loop.call_soon(self._due_turn)

    def _due_turn(self) -> None:
        self._is_turn_due = False
        self._turn()


class _Nested(_Hung):
    """A set with a descriptor of its own, which is one reader of asyncio's loop."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def hang(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Have the loop call `turn` whenever a socket is ready."""
        super().hang(loop, turn)
        loop.add_reader(self._descriptor, turn)

    def take_down(self) -> None:
        """Undo `hang`."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)


class Epoll(_Nested):
    """Linux."""

    def __init__(self) -> None:
        """Open an empty set."""
        system: Any = select  # Other systems have no such name.
        self._epoll = system.epoll()
        self.register: Callable[[int, int], None] = self._epoll.register
        self.modify: Callable[[int, int], None] = self._epoll.modify
        self.unregister: Callable[[int], None] = self._epoll.unregister
        super().__init__(self._epoll.fileno())

    def forget(self, _descriptor: int) -> None:
        """Do nothing: the kernel forgets a closed socket."""

    def poll(self) -> list[tuple[int, int]]:
        """Return the sockets that are ready now, with their events."""
        events: list[tuple[int, int]] = self._epoll.poll(0, _MOST_EVENTS)
        return events

    def close(self) -> None:
        """Release the set."""
        self.take_down()
        self._epoll.close()


class Kqueue(_Nested):
    """MacOS and the BSDs: one filter for each event."""

    def __init__(self) -> None:
        """Open an empty set."""
        self._select: Any = select
        self._kqueue = self._select.kqueue()
        self._filters = (
            (READ, self._select.KQ_FILTER_READ),
            (WRITE, self._select.KQ_FILTER_WRITE),
        )
        self._awaited: dict[int, int] = {}
        super().__init__(self._kqueue.fileno())

    def register(self, descriptor: int, events: int) -> None:
        """Await events on a new socket."""
        self._awaited[descriptor] = 0
        self.modify(descriptor, events)

    def modify(self, descriptor: int, events: int) -> None:
        """Await other events, or none."""
        changed = self._awaited[descriptor] ^ events
        changes = [
            self._select.kevent(
                descriptor,
                name,
                self._select.KQ_EV_ADD if events & bit else self._select.KQ_EV_DELETE,
            )
            for bit, name in self._filters
            if changed & bit
        ]
        self._kqueue.control(changes, 0)
        self._awaited[descriptor] = events

    def unregister(self, descriptor: int) -> None:
        """Await nothing more of a socket."""
        self.modify(descriptor, 0)
        del self._awaited[descriptor]

    forget = unregister

    def poll(self) -> list[tuple[int, int]]:
        """Return the sockets that are ready now, with their events."""
        bits = {name: bit for bit, name in self._filters}
        found = self._kqueue.control(None, _MOST_EVENTS, 0)
        return [(event.ident, bits[event.filter]) for event in found]

    def close(self) -> None:
        """Release the set."""
        self.take_down()
        self._kqueue.close()


class SelectorPollSet(_Hung):
    """Any other system: each socket is a reader or a writer of asyncio's own selector."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._awaited: dict[int, int] = {}
        self._ready: dict[int, int] = {}

    def hang(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Have the loop call `turn` whenever a socket is ready."""
        super().hang(loop, turn)
        for descriptor, events in self._awaited.items():
            self._change(descriptor, 0, events)

    def register(self, descriptor: int, events: int) -> None:
        """Await events on a new socket."""
        self._awaited[descriptor] = 0
        self.modify(descriptor, events)

    def modify(self, descriptor: int, events: int) -> None:
        """Await other events, or none."""
        self._change(descriptor, self._awaited[descriptor], events)
        self._awaited[descriptor] = events
        if descriptor in self._ready:
            self._ready[descriptor] &= events

    def unregister(self, descriptor: int) -> None:
        """Await nothing more of a socket."""
        self.modify(descriptor, 0)
        del self._awaited[descriptor]
        self._ready.pop(descriptor, None)

    forget = unregister

    def poll(self) -> list[tuple[int, int]]:
        """Return the sockets that are ready now, with their events."""
        ready, self._ready = self._ready, {}
        return [(descriptor, events) for descriptor, events in ready.items() if events]

    def close(self) -> None:
        """Release the set."""
        for descriptor in list(self._awaited):
            self.unregister(descriptor)

    def _change(self, descriptor: int, before: int, after: int) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if (before ^ after) & READ:
            if after & READ:
                loop.add_reader(descriptor, self._note, descriptor, READ)
            else:
                loop.remove_reader(descriptor)
        if (before ^ after) & WRITE:
            if after & WRITE:
                loop.add_writer(descriptor, self._note, descriptor, WRITE)
            else:
                loop.remove_writer(descriptor)

    def _note(self, descriptor: int, event: int) -> None:
        if not self._ready and self._loop is not None:
            self._loop.call_soon(self._turn)
        self._ready[descriptor] = self._ready.get(descriptor, 0) | event
