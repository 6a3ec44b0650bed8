"""One connection: bytes in, responses out in the order of their requests.

Three sides of a connection share one `phase`: `request_reader` reads requests, `response_writer`
writes owed responses, `caller` knows the VM. They are bases of one class, since an object for each
would cost a connection as much as its response. This module has what joins them: turns, deadlines,
and the response to a complete request.

A connection reads a small piece and answers it request by request. While a response is owed or its
bytes wait for the peer, nothing more is read or answered: the rest waits in the kernel, or, if it
came with the last piece, in `_rest`. So a connection holds one response and one piece at most.

Bytes up to a blank line that equal, byte for byte, one complete request answered before are not
parsed: the response cache finds the response by those bytes.
"""

import asyncio
import socket

from openimds.dataplane.arrivals import NEAR, Arrival
from openimds.dataplane.caller import CallerLookup
from openimds.dataplane.fault_delivery import FaultyDelivery
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.parsed_request import ParsedRequest, WaitingRequest
from openimds.dataplane.phase import Phase, Step
from openimds.dataplane.poll_set import READ, WRITE
from openimds.dataplane.request_reader import RequestReader, without_id
from openimds.dataplane.response_bytes import CONNECTION_CLOSE, PreparedResponse
from openimds.dataplane.response_writer import ResponseWriter
from openimds.dataplane.shares import LONE_UNITS, TURN_UNITS, UNKNOWN, Share
from openimds.dataplane.turns import Delayed, Turns
from openimds.protocol.durations import SHORTEST_S
from openimds.protocol.faults.fault import Fault

_DELAYED_UNITS = 2
"""Units of a turn of a share with excess: one read, one request."""
_TOO_MANY = 429
_NO_REQUEST = ParsedRequest("", b"", has_metadata_header=False, is_forwarded=False, connection="")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Looked up once: in Python 3.11 the attribute of an enum is a slow call.
_IDLE, _DRAINING, _CLOSED = Phase.IDLE, Phase.DRAINING, Phase.CLOSED
_HEAD_END, _END, _STOP, _CLOSE = Step.HEAD_END, Step.END, Step.STOP, Step.CLOSE


class Connection(RequestReader, ResponseWriter, CallerLookup):
    """One connection. `listener` is set where the listener belongs to one VM.

    `sender` is the hardware address that opened the connection, where host rules bind guests. It
    ends without a response as soon as the VM of its source address has another one. `is_judged` is
    true where web pages may call: their Host and Origin are refused. `is_beyond` is true for one
    from another machine, which some VMs that answer every caller do not answer; see `arrivals`.
    """

    # A connection begins with these values of the class. Many answer one known request and end, and
    # then a value of its own for each would cost as much as the answer.
    slot = -1
    delayed: Delayed | None = None

    def __init__(  # noqa: PLR0913 - the facts of an accepted socket
        self,
        turns: Turns,
        accepted: socket.SocketType,
        peer: str,
        listener: str = "",
        sender: bytes | None = None,
        *,
        arrival: Arrival = NEAR,
    ) -> None:
        """Prepare to serve an accepted socket; `begin` serves it."""
        dispatcher = self.dispatcher = turns.dispatcher
        self._turns = turns
        self._socket, self._descriptor = accepted, accepted.fileno()
        self._listener, self._peer = listener, peer
        if sender is not None:
            self._sender = sender
        if arrival is not NEAR:
            self.is_judged, self.is_beyond = arrival
        self._look_up(dispatcher.fleet_index)
        entry = self._entry
        self._share = dispatcher.connections.share(UNKNOWN if entry is None else entry.name)

    # Called by the reactor.

    @property
    def is_idle(self) -> bool:
        """Whether no request is half read and no response is owed."""
        return self.phase is _IDLE and not (self._owed or self._unsent or self._rest)

    @property
    def has_rest(self) -> bool:
        """Whether bytes that have been read wait for a turn."""
        return bool(self._rest)

    def begin(self) -> None:
        """Accept the connection, unless a bound or a fault forbids it, and serve it."""
        turns, share = self._turns, self._share
        if self._is_of_another or not turns.dispatcher.connections.add(self, share):
            self._move(_CLOSE)
            self._is_over = True
            self._socket.close()
            return
        turns.handlers[self._descriptor] = self.ready
        if self._has_refusal_fault():
            self._close(by_reset=True)
            return
        now_s = self.dispatcher.now()
        self.deadline_s = now_s + self.dispatcher.bounds.head_s
        if share.has_excess and (delay_s := share.delay_s(now_s)):
            turns.delay(self, delay_s)
        elif share.parked or (share.turn == turns.turn_number and share.left <= 0):
            turns.park(self, share)
        else:
            self.resume()

    def ready(self, events: int) -> None:
        """React to the events of the socket."""
        if events & self._events & READ:
            share = self._share
            if share.parked:
                self.park()
            elif share.turn != self._turns.turn_number or share.left > 0:
                self.resume()
            # Otherwise the turn is over; the next poll reports the socket again, behind others.
        elif events & self._events & WRITE:
            self._send_rest()
        else:  # Both sides have closed the connection, or it failed.
            self.abort()

    def park(self) -> None:
        """Read nothing until the share has a turn for this connection."""
        self._await(0)
        self._turns.park(self, self._share)

    def resume(self) -> None:
        """Read a piece, or take the rest of the last one, and answer its requests."""
        if self._is_over:
            return  # It ended while it waited for its turn.
        if self._sender is not None and self._has_moved():
            self.abort()
            return
        turns, share = self._turns, self._share
        if share.turn != turns.turn_number:
            self._begin_turn(turns, share)
        share.left -= 1
        try:
            if self._rest:
                self._answer(self._rest)
                return
            if self._is_lingering:
                self._drop_input()
                return
            data = self._receive()
            if data and self.phase is _IDLE and share.left > 0 and self._answer_known(data):
                share.left -= 1
                if (
                    self._events == READ
                    and self.slot >= 0
                    and self.phase is _IDLE
                    and not (self._unsent or share.has_excess)
                ):
                    return  # Nothing changes: it awaits a request, and has an earlier deadline.
                data = b""
            self._answer(data)
        except Exception as error:  # noqa: BLE001 - our own fault ends this connection alone
            self.dispatcher.on_internal_error(error)
            self.abort()

    def _begin_turn(self, turns: Turns, share: Share) -> None:
        """Begin the turn of a share, once in a turn of the reactor."""
        share.turn = turns.turn_number
        turns.shares_served += 1
        if share.has_excess and share.delay_s(self.dispatcher.now()):
            share.left = _DELAYED_UNITS
        else:
            share.left = LONE_UNITS if turns.is_lone else TURN_UNITS

    def expire(self) -> None:
        """End a connection whose time is up: silently when idle, with 408 inside a request.

        A connection that is closed but whose peer has not taken the last bytes is aborted.
        """
        if self.phase >= _DRAINING or self._owed:
            self.abort()
            return
        if self.phase is not _IDLE:
            self._was_refused = True
            self._write(self._refusal_bytes("too_slow"))
        self._close()

    def drain(self) -> None:
        """End the connection once no request is half read and no response owed."""
        if self.phase is _CLOSED:
            return
        if self._owed:
            self._move(_STOP)
            first = self._owed[0]
            if isinstance(first, FaultyDelivery) and first.is_endless:
                self.abort()
        elif self.phase is _IDLE and not self._rest:
            self._close()
        else:
            self.deadline_s = min(self.deadline_s, self.dispatcher.now() + 1)
            self.dispatcher.connections.deadlines.file(self, self.deadline_s)

    def give_way(self) -> None:
        """End the connection at once, for a newcomer."""
        self.abort()

    # Called by the parser.

    def on_headers_complete(self) -> None:
        """Check the parts of the head that the parser accepts unseen."""
        assert self._parser
        version = self._parser.get_http_version()
        if self._head_refusal:
            self._refuse(self._head_refusal)
        elif version == "1.1" and self._host_count != 1:
            self._refuse("host_missing")
        self._move(_HEAD_END)
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.body_s
        if self._expects and version == "1.1" and not self._refusal:
            self._owe(_CONTINUE)

    def on_message_complete(self) -> None:
        """Ask the dispatcher for the response to a complete request."""
        if self._refusal:
            self._move(_STOP)
            return
        assert self._parser
        method = self._method or self._parser.get_method().decode()
        request = self._request(method, self._parser)
        response, fault = self._respond(request)
        observed = self._observed(request, fault) if self.dispatcher.observer is not None else None
        if fault is not None:
            self._owe(FaultyDelivery(self.dispatcher, fault, observed, self._woken).start(response))
        elif isinstance(response, PreparedResponse):
            self._owe(self._send(response, observed, self._turns.began_s))
        else:
            task = asyncio.get_running_loop().create_task(
                self._finish(response, observed, self._turns.began_s)
            )
            task.add_done_callback(self._woken)
            self._owe(task)
            # Work that changes something is done to its end, also for a peer that has gone.
            self._cancellable = task if request.is_cacheable else None
        is_last = (
            request.connection == CONNECTION_CLOSE
            or (isinstance(response, PreparedResponse) and response.closes)
            or (fault is not None and fault.row.ends_connection)
        )
        self._move(_STOP if is_last else _END)
        self._forget_request()
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.idle_s

    # Between the two.

    def _answer(self, data: bytes) -> None:
        """Answer the requests of a piece one by one, as long as the turn lasts."""
        share = self._share
        while data and not self._owed and not self._unsent and self.phase < _DRAINING:
            if share.left <= 0:
                break
            share.left -= 1
            first = self._first_of(data)
            data = data[len(first) :]
            if self.phase is not _IDLE or not self._answer_known(first):
                self._parse(first)
                if self._refusal:
                    self._owe_refusal()
                self._flush()
        self._rest = data if self.phase < _DRAINING else b""
        self._wait()

    def _answer_known(self, data: bytes) -> bool:
        """Answer a request whose bytes have been answered before; tell whether they have."""
        dispatcher = self.dispatcher
        is_known = dispatcher.fleet_index.generation == self._generation
        entry = self._entry if is_known else self._caller()
        responses = entry.responses if entry else dispatcher.unknown_caller_responses
        cached = responses.by_request.get(data) or responses.by_request.get(without_id(data))
        utc_s = dispatcher.utc()
        if cached is None or not (
            cached.since_s <= utc_s < cached.until_s or dispatcher.is_current(cached)
        ):
            return False
        now_s = dispatcher.now()
        if entry is None:
            dispatcher.count_unknown_caller(self._peer)
            self._share.refused(now_s)
        elif not entry.grants(cached.limit, dispatcher.allowances, now_s):
            cached = dispatcher.throttle(cached)
            self._share.refused(now_s)
        self.deadline_s = now_s + dispatcher.bounds.idle_s
        count, duration_s = cached.count, now_s - self._turns.began_s
        if duration_s <= SHORTEST_S:  # As `Durations.note`, which would be a call more.
            count.shortest += 1
            count.sum_s += duration_s
        else:
            count.note(duration_s)
        self._share.requests += 1
        self._write(dispatcher.stamps.stamp(cached, utc_s))
        if cached.closes and self.phase is not _CLOSED:
            self._close()
        return True

    def _wait(self) -> None:
        """Wait for the peer, for a response or for a turn, whichever comes next."""
        if self.phase is _CLOSED:
            return
        if self._unsent:
            self._await(WRITE)
        elif self._owed:
            self._await(0)
        elif self._is_ended and not self._rest:
            self._close()
            return
        elif self._share.has_excess and (delay_s := self._share.delay_s(self.dispatcher.now())):
            self._await(0)
            self._turns.delay(self, delay_s)
            return
        elif self._rest:
            self.park()
            return
        else:
            self._await(READ)
        self.dispatcher.connections.deadlines.file(self, self.deadline_s)

    def _respond(
        self, request: ParsedRequest
    ) -> tuple[PreparedResponse | WaitingRequest, Fault | None]:
        dispatcher, entry = self.dispatcher, self._caller()
        if entry is None:
            self._share.refused(dispatcher.now())
            dispatcher.count_unknown_caller(self._peer)
            return dispatcher.respond_unknown_caller(request, self._raw_request()), None
        if dispatcher.faults:
            response, fault = dispatcher.respond_with_faults(entry, request, self._peer)
        else:
            response, fault = dispatcher.respond(entry, request, self._raw_request()), None
        if isinstance(response, PreparedResponse) and response.count.key.status == _TOO_MANY:
            self._share.refused(dispatcher.now())
        return response, fault

    def _owe_refusal(self) -> None:
        """Owe the refusal of the request being read, as the last response."""
        self._owe(self._refusal_bytes(self._refusal))
        self._refusal = ""
        self._was_refused = True
        self._share.refused(self.dispatcher.now())
        self._move(_STOP)

    def _refusal_bytes(self, key: str) -> bytes:
        observed = self._observed(_NO_REQUEST) if self.dispatcher.observer is not None else None
        return self._send(self.dispatcher.refuse(key), observed)

    def _observed(self, request: ParsedRequest, fault: Fault | None = None) -> ObservedRequest:
        entry = self._caller()
        return ObservedRequest(
            utc_s=self.dispatcher.utc(),
            now_s=self.dispatcher.now(),
            vm=entry.name if entry else "",
            peer=self._peer,
            method=request.method,
            target=request.target,
            headers=self._headers,
            body=request.body,
            fault=fault.spec.effect if fault else "",
        )

    def _give_time_to_close(self) -> None:
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.close_s
        self.dispatcher.connections.deadlines.file(self, self.deadline_s)

    def _change_share(self, share: Share) -> None:
        """Go on as a connection of another VM, after a change of the fleet."""
        self.dispatcher.connections.move(self, self._share, share)
        self._share = share

    def _release(self) -> None:
        """Close the socket, and give up the connection's place and what it waits for."""
        if self._is_over:
            return
        self._is_over = True
        self._is_lingering = False
        self._turns.handlers.pop(self._descriptor, None)
        if self._events >= 0:
            self._turns.poll_set.forget(self._descriptor)
        self._socket.close()
        self._turns.forget(self, self._share)
        self._parser = None
        self._unsent = self._rest = b""
        for response in self._owed:
            if isinstance(response, FaultyDelivery):
                response.cancel()
        if self._cancellable is not None:
            self._cancellable.cancel()
