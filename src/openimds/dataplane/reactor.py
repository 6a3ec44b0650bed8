"""The reactor: all sockets of the data plane, served in fair turns.

The poll set is that of asyncio's loop, or hangs in it, so signing, the admin API and timers are
served beside it. A turn serves each share that has something to say once: at most `TURN_UNITS`
reads and requests, or `LONE_UNITS` if the last turn served one share alone. A connection whose
share has used its turn up is not read until the next one. If bytes of it have been read, it is
parked; parked connections of a share go round robin, and newly ready ones stand behind them.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from openimds.dataplane.arrivals import EVERY_CALLER_IS_NEAR, ArrivalRule
from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.event_loop import open_poll_set
from openimds.dataplane.observer import CallLater, loop_later
from openimds.dataplane.poll_set import READ, PollSet
from openimds.dataplane.saved_syn import sender_of
from openimds.dataplane.shares import Share
from openimds.dataplane.turns import Delayed, TurnTaker
from openimds.dataplane.wheel import Wheel
from openimds.errors import SHORTAGES

_BURST = 32
"""Connections that one listener accepts in a turn."""
_DELAY_GRAIN_S = 0.05
_PAUSE_S = 0.1
"""The pause of accepting when the system has no file descriptor left."""


class ListeningSocket:
    """A listening socket in the reactor; with `own` its callers are one VM.

    One that is guarded has its callers from the host rules, which know their hardware addresses.
    Its rule tells of each connection where it comes from.
    """

    def __init__(
        self,
        reactor: "Reactor",
        bound: socket.socket,
        own: str,
        *,
        is_guarded: bool,
        rule: ArrivalRule,
    ) -> None:
        """Listen already; the reactor calls `accept` when a caller waits."""
        self._reactor, self._own, self._is_guarded = reactor, own, is_guarded
        self._arrival = rule.decide
        self.socket = bound
        # `socket.accept` makes a second object around this one, which costs 2 us a connection.
        self._accept: Callable[[], tuple[int, object]] = getattr(bound, "_accept")  # noqa: B009 - the type has no such name
        self._kind = (int(bound.family), int(bound.type), bound.proto)

    def accept(self, _events: int) -> None:
        """Accept a burst of connections, and serve each at once."""
        reactor, own, arrival_of = self._reactor, self._own, self._arrival
        for _ in range(_BURST):
            try:
                descriptor, address = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SHORTAGES:
                    reactor.pause_accepting(error)
                    return
                continue  # The caller has gone.
            source = str(address[0]) if isinstance(address, tuple) else ""
            accepted = socket.SocketType(*self._kind, descriptor)
            sender = sender_of(accepted) if self._is_guarded else None
            arrival = arrival_of(accepted, source)
            peer = own or source
            Connection(reactor, accepted, peer, own, sender, arrival=arrival).begin()


class Reactor:
    """The sockets of one data plane, inside an event loop."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        poll_set: PollSet | None = None,
        call_later: CallLater = loop_later,
    ) -> None:
        """Serve the callers of a dispatcher; `call_later` ends delays and pauses."""
        self.dispatcher = dispatcher
        self.poll_set = poll_set or open_poll_set()
        self._call_later = call_later
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.turn_number = 0
        self.began_s = dispatcher.now()
        self.shares_served = 0
        self.is_lone = False
        self.accept_pauses = 0
        self.on_shortage: Callable[[OSError], None] = lambda _: None
        self._queue: deque[Share] = deque()
        self._delays: Wheel[Delayed] = Wheel(_DELAY_GRAIN_S)
        self._listening: dict[int, ListeningSocket] = {}
        self._is_hung = self._is_paused = self._is_timer_set = False

    # Listeners.

    def listen(
        self,
        bound: socket.socket,
        own: str = "",
        *,
        is_guarded: bool = False,
        rule: ArrivalRule = EVERY_CALLER_IS_NEAR,
    ) -> None:
        """Accept the callers of a listening socket from now on; see `ListeningSocket`.

        Raises:
            OSError: the system has no memory for it left; nothing has changed.
        """
        if not self._is_hung:
            self.poll_set.hang(asyncio.get_running_loop(), self.turn)
            self._is_hung = True
        bound.settimeout(0)
        listening = ListeningSocket(self, bound, own, is_guarded=is_guarded, rule=rule)
        descriptor = bound.fileno()
        self.poll_set.register(descriptor, 0 if self._is_paused else READ)
        if rule.can_judge:
            self.dispatcher.judge_pages()
        self._listening[descriptor] = listening
        self.handlers[descriptor] = listening.accept

    def close_listener(self, bound: socket.socket) -> None:
        """Accept no further caller of a socket, and close it."""
        descriptor = bound.fileno()
        if self._listening.pop(descriptor, None):
            del self.handlers[descriptor]
            self.poll_set.unregister(descriptor)
        bound.close()

    def pause_accepting(self, error: OSError) -> None:
        """Accept nobody for a moment: the system has no file descriptor or memory left."""
        if self._is_paused:
            return
        self._is_paused = True
        self.accept_pauses += 1
        self.on_shortage(error)
        for descriptor in self._listening:
            self.poll_set.modify(descriptor, 0)
        self._call_later(_PAUSE_S, self._accept_again)

    def _accept_again(self) -> None:
        self._is_paused = False
        for descriptor in self._listening:
            self.poll_set.modify(descriptor, READ)

    # Turns.

    def turn(self) -> None:
        """Serve each share that has something to say once."""
        self.turn_number += 1
        self.began_s = self.dispatcher.now()
        self.is_lone, self.shares_served = self.shares_served <= 1, 0
        handlers = self.handlers
        for descriptor, events in self.poll_set.poll():
            handler = handlers.get(descriptor)
            if handler is not None:  # Otherwise it was closed earlier in this turn.
                handler(events)
        if self._queue:
            self._serve_parked()

    def park(self, connection: TurnTaker, share: Share) -> None:
        """Let a connection, which awaits no events, wait for a turn of its share."""
        share.parked.append(connection)
        self.dispatcher.connections.parked += 1
        if not share.is_queued:
            share.is_queued = True
            self._queue.append(share)
            self.poll_set.turn_soon()

    def _serve_parked(self) -> None:
        for _ in range(len(self._queue)):
            share = self._queue.popleft()
            parked = share.parked
            for _ in range(len(parked)):
                if share.turn == self.turn_number and share.left <= 0:
                    break
                parked.popleft().resume()
            if parked:
                self._queue.append(share)
            else:
                share.is_queued = False
        if self._queue:
            self.poll_set.turn_soon()

    # Time.

    def delay(self, connection: TurnTaker, delay_s: float) -> None:
        """Park a connection after a delay in seconds."""
        connection.delayed = Delayed(connection)
        self.dispatcher.connections.delayed += 1
        self._delays.file(connection.delayed, self.dispatcher.now() + delay_s)
        if not self._is_timer_set:
            self._is_timer_set = True
            self._call_later(_DELAY_GRAIN_S, self._end_delays)

    def _end_delays(self) -> None:
        self._is_timer_set = False
        for delayed in self._delays.due(self.dispatcher.now()):
            delayed.connection.delayed = None
            delayed.connection.park()
        if self._delays:
            self._is_timer_set = True
            self._call_later(_DELAY_GRAIN_S, self._end_delays)

    # The end.

    def forget(self, connection: TurnTaker, share: Share) -> None:
        """Forget a connection that has ended."""
        if connection.delayed:
            self._delays.drop(connection.delayed)
            connection.delayed = None
        self.dispatcher.connections.remove(connection, share)

    def close(self) -> None:
        """Release the poll set, when all connections have ended."""
        self.poll_set.close()
