"""The event loop of a server: asyncio's, with the sockets of the data plane.

A set of its own that hangs in asyncio's loop costs each turn a second system call and asyncio's way
from an event to a call. On this loop one poll finds the sockets of both, and the reactor's turn
takes place at once, before asyncio's callbacks. On any other loop, such as that of a program which
embeds a server, a set hangs in the loop.
"""

import asyncio
import select
import selectors
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import ceil
from typing import Any

from openimds.dataplane.poll_set import Epoll, Kqueue, PollSet, SelectorPollSet

_MOST_EVENTS = 256
"""Events of one poll; the others are reported by the next one."""


class _TurnSelector(selectors.BaseSelector):
    """The selector of asyncio's loop; a socket without a key belongs to the data plane."""

    def __init__(self) -> None:
        system: Any = select  # Other systems have no such name.
        self.epoll = system.epoll()
        self.turn: Callable[[list[tuple[int, int]]], None] | None = None
        self.is_turn_due = False
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401 - as the base class
        """Await events of a socket of asyncio."""
        key = selectors.SelectorKey(fileobj, _descriptor(fileobj), events, data)
        if key.fd in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        self.epoll.register(key.fd, _epoll_events(events))
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as the base class
        """Await nothing more of a socket of asyncio."""
        key = self._keys.pop(_descriptor(fileobj))
        with suppress(OSError):  # If it was closed before, the kernel has forgotten it.
            self.epoll.unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401 - as the base class
        """Await other events of a socket of asyncio, or keep other data with it."""
        old = self._keys[_descriptor(fileobj)]
        if events != old.events:
            self.epoll.modify(old.fd, _epoll_events(events))
        key = self._keys[old.fd] = selectors.SelectorKey(fileobj, old.fd, events, data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve the data plane, and return the ready sockets of asyncio.

        The time-out is in seconds, None for no limit; it is rounded up to milliseconds, as the
        kernel counts, so that no poll ends just before the time of a timer.
        """
        if self.is_turn_due or (timeout is not None and timeout <= 0):
            wait_s = 0.0
        else:
            wait_s = -1.0 if timeout is None else ceil(timeout * 1000) / 1000
        found: list[tuple[selectors.SelectorKey, int]] = []
        ours: list[tuple[int, int]] = []
        keys = self._keys
        for event in self.epoll.poll(wait_s, _MOST_EVENTS):
            key = keys.get(event[0])
            if key is None:
                ours.append(event)
            else:
                found.append((key, _selector_events(event[1]) & key.events))
        if ours or self.is_turn_due:
            self.is_turn_due = False
            if self.turn is not None:
                self.turn(ours)
        return found

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return the keys by their descriptors."""
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as the base class
        """Return the key of a socket of asyncio; KeyError if it has none."""
        return self._keys[_descriptor(fileobj)]

    def close(self) -> None:
        """Release the set."""
        self._keys.clear()
        self.epoll.close()


class LoopPollSet:
    """The poll set of a data plane whose sockets the loop itself polls."""

    def __init__(self, loop: "ServingLoop", selector: _TurnSelector) -> None:
        """Await events in the set of a loop."""
        self._loop, self._selector = loop, selector
        self._events: list[tuple[int, int]] = []
        self._turn: Callable[[], None] = lambda: None
        self.register: Callable[[int, int], None] = selector.epoll.register
        self.modify: Callable[[int, int], None] = selector.epoll.modify
        self.unregister: Callable[[int], None] = selector.epoll.unregister
        selector.turn = self._take

    def hang(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Have the loop call `turn` whenever a socket is ready."""
        assert loop is self._loop, "the loop on which the set was opened"
        self._turn = turn

    def turn_soon(self) -> None:
        """Have the loop call `turn` once more, also if no socket is ready."""
        self._selector.is_turn_due = True

    def forget(self, _descriptor: int) -> None:
        """Do nothing: the kernel forgets a closed socket."""

    def poll(self) -> list[tuple[int, int]]:
        """Return the sockets that the loop has found ready, with their events."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Have no further turn."""
        self._selector.turn = None

    def _take(self, events: list[tuple[int, int]]) -> None:
        self._events = events
        try:
            self._turn()
        except Exception as error:  # noqa: BLE001 - asyncio does the same with a callback's
            context = {"message": "a turn of the data plane failed", "exception": error}
            self._loop.call_exception_handler(context)


class ServingLoop(asyncio.SelectorEventLoop):
    """Asyncio's loop, with the sockets of one data plane in its poll set.

    It is one over selectors also on Windows: the other one there cannot wait for a listening
    socket. Without epoll it is asyncio's own.
    """

    def __init__(self) -> None:
        """Open the set."""
        self._turns = _TurnSelector() if hasattr(select, "epoll") else None
        super().__init__(self._turns)

    def open_poll_set(self) -> LoopPollSet | None:
        """Return the poll set for a data plane; None if another has it."""
        turns = self._turns
        return LoopPollSet(self, turns) if turns is not None and turns.turn is None else None


def open_poll_set() -> PollSet:
    """Return an empty poll set: the running loop's, or the system's best."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    if isinstance(loop, ServingLoop) and (own := loop.open_poll_set()):
        return own
    if hasattr(select, "epoll"):
        return Epoll()
    return Kqueue() if hasattr(select, "kqueue") else SelectorPollSet()


def _descriptor(fileobj: Any) -> int:  # noqa: ANN401 - as selectors
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


# The bits of epoll for reading and writing are 1 and 4, those of `selectors` 1 and 2.
def _epoll_events(events: int) -> int:
    return (events & 1) | (events & 2) << 1


def _selector_events(events: int) -> int:
    # An error or a hang-up wakes up both sides, as with asyncio's own selector.
    return (1 if events & ~4 else 0) | (2 if events & ~1 else 0)
