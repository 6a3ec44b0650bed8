"""One connection: bytes in, responses out in the order of their requests.

The parser is httptools; `request_reader` checks the parts of a request that it passes on.
HTTP/0.9 is refused; `Expect: 100-continue` is answered; an `Upgrade` is ignored. `phase` holds the
state machine.

A connection reads a small piece and answers it request by request. While a response is owed or its
bytes wait for the peer, nothing more is read or answered: the rest waits in the kernel, or, if it
came with the last piece, in `_rest`. So a connection holds one response and one piece at most.

Bytes up to a blank line that equal, byte for byte, one complete request answered before are not
parsed: the response cache finds the response by those bytes.
"""

import asyncio
import re
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

import httptools

from openimds.dataplane.dispatcher import (
    Dispatcher,
    ParsedRequest,
    ResponseIndex,
    WaitingRequest,
    WireEntry,
)
from openimds.dataplane.fault_delivery import FaultyDelivery
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.phase import Phase, Step
from openimds.dataplane.poll_set import READ, WRITE, PollSet
from openimds.dataplane.request_reader import RequestReader
from openimds.dataplane.response_bytes import CONNECTION_CLOSE, PreparedResponse
from openimds.dataplane.saved_syn import hardware_of
from openimds.dataplane.shares import LONE_UNITS, TURN_UNITS, UNKNOWN, Share
from openimds.protocol.faults.fault import Fault

_READ_BYTES = 4096
"""The most that one read takes."""
_SMALL = 2048
"""Requests up to this size, in bytes, are cached by their bytes."""
_DELAYED_UNITS = 2
"""Units of a turn of a share with excess: one read, one request."""
_LINGER_BYTES = 65536
"""Input that is read and dropped behind a refusal, so that the peer gets to read the refusal."""
_TOO_MANY = 429
_NO_REQUEST = ParsedRequest("", b"", has_metadata_header=False, is_forwarded=False, connection="")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BLANK_LINE = b"\r\n\r\n"
_NEW_EACH_TIME = re.compile(rb"\n([A-Za-z-]*[Rr]equest-[Ii][Dd]: [\w-]{1,64}\r\n)", re.ASCII)
"""A header that SDKs send with a new value in each request, and that changes no response."""
_NAME_OF_IT = b"equest-"
"""A part of its name that few requests have elsewhere."""
_REASONS = (
    ("Content-Length", "length_malformed"),
    ("Transfer-Encoding", "length_malformed"),
    ("chunk", "body_malformed"),
    ("url", "target_malformed"),
    ("header", "header_malformed"),
)
"""Parts of the parser's messages, and the refusals for them."""
_NO_LINGER = struct.pack("ii", 1, 0)
_AT_ONCE = getattr(socket, "MSG_DONTWAIT", 0)
# Looked up once: in Python 3.11 the attribute of an enum is a slow call.
_IDLE, _READING_HEAD, _READING_BODY, _DRAINING, _CLOSED = Phase
_BEGIN, _HEAD_END, _END, _STOP, _CLOSE = Step


class Turns(Protocol):
    """The part of the reactor that a connection uses."""

    dispatcher: Dispatcher
    handlers: dict[int, Callable[[int], None]]
    turn_number: int
    shares_served: int
    is_lone: bool

    @property
    def poll_set(self) -> PollSet:
        """The set in which a connection awaits its events."""
        ...

    def park(self, connection: "Connection", share: Share) -> None:
        """Let a connection, which awaits no events, wait for a turn of its share."""

    def delay(self, connection: "Connection", delay_s: float) -> None:
        """Park a connection after a delay in seconds."""

    def forget(self, connection: "Connection", share: Share) -> None:
        """Forget a connection that has ended."""


class Delayed:
    """A connection in the wheel of delays; its `slot` is that of the wheel."""

    __slots__ = ("connection", "slot")

    def __init__(self, connection: "Connection") -> None:
        """Begin in no slot."""
        self.connection, self.slot = connection, -1


Owed: TypeAlias = "bytes | asyncio.Task[bytes] | FaultyDelivery"
"""A response that is owed: its bytes, the work that makes them, or a delivery in parts."""


class Connection(RequestReader):
    """One connection. `listener` is set where the listener belongs to one VM.

    `sender` is the hardware address that opened the connection, where host rules bind guests. It
    ends without a response as soon as the VM of its source address has another one. `is_local` is
    true at a loopback listener: there the Host and Origin of web pages are refused.
    """

    # A connection begins with these values of the class. Many answer one known request and end, and
    # then a value of its own for each would cost as much as the answer.
    slot = -1
    delayed: Delayed | None = None
    _events = -1
    _generation = -1
    _entry: WireEntry | None = None
    _sender: bytes | None = None
    _is_of_another = False
    _parser: httptools.HttpRequestParser | None = None
    _owed: "deque[Owed] | tuple[()]" = ()
    _cancellable: asyncio.Task[bytes] | None = None
    _unsent = _rest = _raw = _before = b""
    _is_pending = _is_ended = _is_lingering = _was_refused = _is_over = False
    _dropped_bytes = 0

    def __init__(
        self,
        turns: Turns,
        accepted: socket.SocketType,
        peer: str,
        listener: str = "",
        sender: bytes | None = None,
    ) -> None:
        """Prepare to serve an accepted socket; `begin` serves it."""
        dispatcher = self.dispatcher = turns.dispatcher
        self._turns = turns
        self._socket, self._descriptor = accepted, accepted.fileno()
        self._listener, self._peer = listener, peer
        if sender is not None:
            self._sender = sender
        self._look_up(dispatcher.fleet_index)
        entry = self._entry
        self._share = dispatcher.connections.share(UNKNOWN if entry is None else entry.name)

    def _owe(self, response: "Owed") -> None:
        """Put a response behind those that are owed."""
        if self._owed:
            self._owed.append(response)
        else:
            self._owed = deque((response,))

    def _most_fed(self) -> int:
        return self.dispatcher.bounds.head_bytes + _READ_BYTES

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

    def abort(self) -> None:
        """End the connection at once; bytes that the peer has not taken are lost."""
        self._move(_CLOSE)
        self._release()

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
            self._owe(self._send(response, observed))
        else:
            task = asyncio.get_running_loop().create_task(self._finish(response, observed))
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

    def _receive(self) -> bytes:
        """Return the next piece; nothing if none is there, or if the peer has ended."""
        try:
            data = self._socket.recv(_READ_BYTES, _AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            self.abort()
            return b""
        if not data:
            self._is_ended = True
        return data

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
        self._rest = data if self.phase < _DRAINING else b""
        self._wait()

    def _first_of(self, data: bytes) -> bytes:
        """Return the bytes up to a blank line, or the rest of a body.

        No request ends inside of them, so that requests are parsed one by one.
        """
        end = self._length - self._body_bytes if self.phase is _READING_BODY else 0
        data = data[: self._most_fed() - self._fed_bytes] if self.phase < _READING_BODY else data
        if end <= 0:
            # The blank line may have begun with the bytes before.
            blank = (self._before + data).find(_BLANK_LINE)
            end = blank + len(_BLANK_LINE) - len(self._before) if blank >= 0 else len(data)
        return data if end >= len(data) else data[:end]

    def _answer_known(self, data: bytes) -> bool:
        """Answer a request whose bytes have been answered before; tell whether they have."""
        dispatcher = self.dispatcher
        is_known = dispatcher.fleet_index.generation == self._generation
        entry = self._entry if is_known else self._caller()
        responses = entry.responses if entry else dispatcher.unknown_caller_responses
        cached = responses.by_request.get(data) or responses.by_request.get(_without_id(data))
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
        cached.count.requests += 1
        self._write(dispatcher.stamps.stamp(cached, utc_s))
        if cached.closes and self.phase is not _CLOSED:
            self._close()
        return True

    def _parse(self, data: bytes) -> None:
        fed = data
        self._fed_bytes += len(data)
        self._raw = data if self.phase is _IDLE and len(data) <= _SMALL else b""
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        try:
            if self.phase is _IDLE or self._line:
                data = self._checked_line(data)
            if data:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request itself was answered; a fresh parser reads the bytes behind it.
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserCallbackError as error:
            # The parser wraps our own exceptions: report them, and do not blame the guest.
            self.dispatcher.on_internal_error(error.__context__ or error)
            self._refuse("server_error")
        except httptools.HttpParserError as error:
            text = str(error)
            self._refuse(next((key for part, key in _REASONS if part in text), "malformed"))
        self._before = b"" if self.phase is _IDLE else (self._before + fed)[-3:]
        if self.phase <= _READING_HEAD and self._fed_bytes >= self._most_fed():
            self._refuse("headers_too_large")
        if self._refusal:
            self._owe(self._refusal_bytes(self._refusal))
            self._refusal = ""
            self._was_refused = True
            self._share.refused(self.dispatcher.now())
            self._move(_STOP)
        self._flush()

    def _flush(self) -> None:
        """Write the responses that are ready, in order; close behind the last one."""
        data, wait_s, resets = self._take_ready()
        if self.phase is _CLOSED:
            self._owed = ()
            return
        if data:
            self._write(data)
        bounds = self.dispatcher.bounds
        if self._owed:
            self._is_pending = True
            self.deadline_s = self.dispatcher.now() + bounds.answer_s + wait_s
        elif self._is_pending:
            self._is_pending = False
            patience_s = bounds.idle_s if self.phase is _IDLE else bounds.head_s
            self.deadline_s = self.dispatcher.now() + patience_s
        if not self._owed and self.phase is _DRAINING:
            self._close(by_reset=resets)

    def _woken(self, _done: object = None) -> None:
        """Go on: a pending response is ready, or its next part is."""
        self._cancellable = None
        self._flush()
        self._wait()

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

    def _await(self, events: int) -> None:
        """Await events of the socket; until its first one it is not registered."""
        if events == self._events:
            return
        if self._events >= 0:
            self._turns.poll_set.modify(self._descriptor, events)
        elif events:
            self._turns.poll_set.register(self._descriptor, events)
        else:
            return
        self._events = events

    def _write(self, data: bytes) -> None:
        """Send bytes, and keep those that the peer does not take yet."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data, _AT_ONCE)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(data):
            self._unsent = data[sent:]

    def _send_rest(self) -> None:
        """Send the kept bytes, now that the peer takes some."""
        data, self._unsent = self._unsent, b""
        self._write(data)
        if self._unsent:
            return
        if self.phase is _CLOSED:
            self._end()
        else:
            self._flush()
            self._wait()

    def _take_ready(self) -> tuple[bytes, float, bool]:
        """Remove the ready responses from the queue.

        Return their bytes, the least time in seconds until the next piece, and whether a fault
        resets the connection behind them.
        """
        ready: list[bytes] = []
        resets = False
        while self._owed:
            first = self._owed[0]
            if isinstance(first, bytes):
                ready.append(first)
            elif isinstance(first, FaultyDelivery):
                ready.append(first.take())
                if not first.is_over:
                    return b"".join(ready), first.wait_s, False
                resets = first.resets
            elif not first.done():
                break
            elif first.cancelled():  # The loop ends before the result has come.
                self.abort()
            else:
                ready.append(first.result())
            self._owed.popleft()
        return b"".join(ready), 0.0, resets

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

    async def _finish(self, waiting: WaitingRequest, observed: ObservedRequest | None) -> bytes:
        return self._send(await self.dispatcher.finish(waiting), observed)

    def _send(self, response: PreparedResponse, observed: ObservedRequest | None) -> bytes:
        """Return the bytes of a response, and show them to the observer."""
        data = self.dispatcher.send(response, self.dispatcher.utc())
        if observed is not None and self.dispatcher.observer is not None:
            self.dispatcher.observer.observe(observed, response, data)
        return data

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

    def _raw_request(self) -> bytes:
        """Return the chunk if it certainly is this one request and nothing else."""
        dispatcher = self.dispatcher
        if dispatcher.observer is not None or (self._is_rebound and dispatcher.has_loopback):
            # The bytes of a request that loopback listeners refuse mean another one elsewhere.
            return b""
        end = b"\r\n\r\n"
        # A request with Expect needs 100 Continue each time, so it is always parsed.
        is_whole = self._raw.endswith(end) and self._raw.count(end) == 1 and not self._expects
        return _without_id(self._raw) if is_whole else b""

    def _caller(self) -> WireEntry | None:
        """Return the calling VM, looked up anew when the fleet index has changed."""
        fleet_index = self.dispatcher.fleet_index
        if fleet_index.generation != self._generation:
            self._look_up(fleet_index)
            connections, entry = self.dispatcher.connections, self._entry
            share = connections.share(entry.name if entry else UNKNOWN)
            if share is not self._share:
                connections.move(self, self._share, share)
                self._share = share
        return self._entry

    def _look_up(self, fleet_index: ResponseIndex) -> None:
        self._generation = fleet_index.generation
        listener = self._listener
        self._entry = (
            fleet_index.entry_of(listener) if listener else fleet_index.entry_at(self._peer)
        )
        if self._sender is not None and (entry := self._entry):
            self._is_of_another = hardware_of(entry.packed) != self._sender
            # While the kernel answers a flood with cookies it keeps no sender: nothing has moved.
            if self._is_of_another and self._sender:
                self.dispatcher.on_moved_address(self._peer, entry.name)

    def _has_moved(self) -> bool:
        """Tell whether the source address belongs to another guest's VM now."""
        self._caller()
        return self._is_of_another

    def _has_refusal_fault(self) -> bool:
        faults = self.dispatcher.faults
        entry = self._caller() if faults else None
        return bool(faults and entry and faults.refuses(entry.name, self.dispatcher.utc()))

    def _close(self, *, by_reset: bool = False) -> None:
        """End the connection once the peer has taken the last bytes, or by a reset."""
        self._move(_CLOSE)
        if self._is_over:
            return
        self._rest = b""
        if by_reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._release()
        elif self._unsent:
            self._await(WRITE)
            self._give_time_to_close()
        else:
            self._end()

    def _end(self) -> None:
        """Close the socket behind the last byte.

        Unread input would turn the close into a reset, and cost the peer a refusal that it has not
        read yet: behind a refusal, input is read and dropped until the peer closes.
        """
        if not self._was_refused or self._is_ended:
            self._release()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._release()
            return
        self._is_lingering = True
        self._give_time_to_close()
        self._drop_input()

    def _drop_input(self) -> None:
        """Read and drop input behind a refusal."""
        data = self._receive()
        self._dropped_bytes += len(data)
        if self._is_ended or self._dropped_bytes > _LINGER_BYTES:
            self.abort()
        elif self._is_lingering:  # It is not if receiving failed.
            self._await(READ)

    def _give_time_to_close(self) -> None:
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.close_s
        self.dispatcher.connections.deadlines.file(self, self.deadline_s)

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


class LoopbackConnection(Connection):
    """A connection to a loopback listener."""

    is_local = True


def _without_id(data: bytes) -> bytes:
    """Return the bytes of a request without its first header that is new each time."""
    at = data.find(_NAME_OF_IT)
    if at < 0:
        return data
    found = _NEW_EACH_TIME.search(data, max(0, data.rfind(b"\n", 0, at)))
    return data[: found.start(1)] + data[found.end() :] if found else data
