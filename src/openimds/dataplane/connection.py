"""One connection: chunks of bytes in, responses out in the order of their requests.

The parser is httptools. This module decides the rest: sizes are bounded; HTTP/0.9 and a missing
Host are refused; absolute-form targets are accepted; `Expect: 100-continue` is answered; an
`Upgrade` is ignored; pipelined requests are answered in one write. `phase` holds the state machine.

A chunk that equals, byte for byte, one complete request answered before is not parsed: the response
cache finds the response by those bytes.
"""

import asyncio
from collections import deque
from typing import cast

import httptools

from openimds.dataplane.dispatcher import Dispatcher, ParsedRequest, WaitingRequest, WireEntry
from openimds.dataplane.fault_delivery import FaultyDelivery, reset
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.phase import TRANSITIONS, Phase, Step
from openimds.dataplane.response_bytes import CONNECTION_CLOSE, PreparedResponse
from openimds.protocol.faults.fault import Fault

_BUFFER = bytearray(16384)
"""The receive buffer of every connection: a chunk is handled before the next one is read."""
_VIEW = memoryview(_BUFFER)
_SMALL = 2048
"""Requests up to this size, in bytes, are cached by their bytes."""
_NEVER = float("inf")
_NO_REQUEST = ParsedRequest("", b"", has_metadata_header=False, is_forwarded=False, connection="")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Looked up once: in Python 3.11 the attribute of an enum is a slow call.
_IDLE, _READING_HEAD, _READING_BODY, _DRAINING, _CLOSED = Phase
_BEGIN, _HEAD_END, _END, _STOP, _CLOSE = Step


class Connection(asyncio.BufferedProtocol):
    """One connection. `listener` is set where the listener belongs to one VM."""

    def __init__(self, dispatcher: Dispatcher, listener: str = "") -> None:
        """Prepare for a connection."""
        self.dispatcher = dispatcher
        self.deadline_s = _NEVER
        self.phase = _IDLE
        self._listener = listener
        self._peer = ""
        self._generation = -1
        self._entry: WireEntry | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._owed: deque[bytes | asyncio.Task[bytes] | FaultyDelivery] = deque()
        self._is_pending = self._is_full = False
        self._raw = b""
        self._forget_request()

    def _forget_request(self) -> None:
        self._target = b""
        self._head_bytes = self._body_bytes = self._header_count = self._host_count = 0
        self._fed_bytes = 0
        self._is_forwarded = self._expects = False
        self._metadata_values: list[bytes] = []
        self._credentials: list[tuple[str, str]] = []
        self._headers: list[tuple[str, str]] = []
        self._body = b""
        self._refusal = ""

    def _move(self, step: Step) -> None:
        self.phase = TRANSITIONS[self.phase][step]

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection unless a bound or a fault forbids it."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = self._listener or (str(peer[0]) if isinstance(peer, tuple) else "")
        if not self.dispatcher.connections.add(self, self._peer):
            self._abort()
            return
        if self._has_refusal_fault():
            self._close(by_reset=True)
            return
        self._transport.set_write_buffer_limits(high=self.dispatcher.bounds.write_high_bytes)
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.head_s

    def connection_lost(self, _exc: Exception | None) -> None:
        """Release the connection's place and cancel deliveries that have not finished."""
        self._move(_CLOSE)
        self.dispatcher.connections.remove(self, self._peer)
        for response in self._owed:
            if isinstance(response, FaultyDelivery):
                response.cancel()

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read its responses."""
        self._is_full = True
        self._pause_or_resume()

    def resume_writing(self) -> None:
        """Read again unless a response is pending."""
        self._is_full = False
        self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        if self._is_full or self._is_pending:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def get_buffer(self, _sizehint: int) -> bytearray:
        """Return the shared receive buffer."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Answer the requests that a chunk completes."""
        data = bytes(_VIEW[:nbytes])
        if self.phase is _IDLE and not self._owed:
            dispatcher, entry = self.dispatcher, self._caller()
            cached = (
                entry.responses if entry else dispatcher.unknown_caller_responses
            ).by_request.get(data)
            if cached is not None and dispatcher.is_current(cached):
                now_s = dispatcher.now()
                if entry is None:
                    dispatcher.count_unknown_caller(self._peer)
                elif not entry.grants(cached.limit, dispatcher.allowances, now_s):
                    cached = dispatcher.throttle(cached)
                self.deadline_s = now_s + dispatcher.bounds.idle_s
                self._transport.write(dispatcher.send(cached, dispatcher.utc()))
                if cached.closes:
                    self._close()
                return
        self._parse(data)

    def expire(self) -> None:
        """End a connection whose time is up: silently when idle, with 408 inside a request.

        A connection that is closed but whose peer has not taken the last bytes is aborted.
        """
        if self.phase >= _DRAINING or self._owed:
            self._abort()
            return
        if self.phase is not _IDLE:
            self._transport.write(self._refusal_bytes("too_slow"))
        self._close()

    def drain(self) -> None:
        """End the connection once no request is half read and no response owed."""
        if self.phase is _CLOSED:
            return
        if self._owed:
            self._move(_STOP)
            first = self._owed[0]
            if isinstance(first, FaultyDelivery) and first.is_endless:
                self._abort()
        elif self.phase is _IDLE:
            self._close()
        else:
            self.deadline_s = min(self.deadline_s, self.dispatcher.now() + 1)

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        if self.phase is not _IDLE:
            return  # Bytes behind the last request are ignored.
        self._move(_BEGIN)
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.head_s

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may come in pieces."""
        self._target += url
        if len(self._target) > self.dispatcher.bounds.target_bytes:
            self._refuse("target_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count every header and keep those that matter."""
        self._head_bytes += len(name) + len(value) + 4
        self._header_count += 1
        bounds = self.dispatcher.bounds
        if self._head_bytes > bounds.head_bytes or self._header_count > bounds.header_count:
            self._refuse("headers_too_large")
        if self.phase is not _READING_HEAD:
            return  # A trailer behind a chunked body counts towards the bounds only.
        if self.dispatcher.observer is not None:
            self._headers.append((name.lower().decode("latin-1"), value.decode("latin-1")))
        match name.lower():
            case b"metadata":
                self._metadata_values.append(value.strip().lower())
            case b"host":
                self._host_count += 1
            case b"x-forwarded-for":
                self._is_forwarded = True
            case b"authorization" | b"secret" | b"x-identity-header":
                self._credentials.append((name.lower().decode(), value.strip().decode("latin-1")))
            case b"expect":
                self._expects = value.strip().lower() == b"100-continue"
                if not self._expects:
                    self._refuse("expectation_unknown")

    def on_headers_complete(self) -> None:
        """Check the parts of the head that the parser accepts unseen."""
        if self.phase is not _READING_HEAD:
            return
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._refuse("malformed")
        elif version == "1.1" and self._host_count != 1:
            self._refuse("host_missing")
        self._move(_HEAD_END)
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.body_s
        if self._expects and version == "1.1" and not self._refusal:
            self._owed.append(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Collect a body within its bound."""
        self._body_bytes += len(body)
        if self._body_bytes > self.dispatcher.bounds.body_bytes:
            self._refuse("body_too_large")
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """Ask the dispatcher for the response to a complete request."""
        if self.phase is not _READING_BODY:
            return
        if self._refusal:
            self._move(_STOP)
            return
        request = self._request(self._parser.get_method().decode())
        response, fault = self._respond(request)
        observed = self._observed(request, fault) if self.dispatcher.observer is not None else None
        if fault is not None:
            self._owed.append(
                FaultyDelivery(self.dispatcher, fault, observed, self._flush).start(response)
            )
        elif isinstance(response, PreparedResponse):
            self._owed.append(self._send(response, observed))
        else:
            task = asyncio.get_running_loop().create_task(self._finish(response, observed))
            task.add_done_callback(self._flush)
            self._owed.append(task)
        is_last = request.connection == CONNECTION_CLOSE or (
            fault is not None and fault.row.ends_connection
        )
        self._move(_STOP if is_last else _END)
        self._forget_request()
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.idle_s

    # Between the two.

    def _parse(self, data: bytes) -> None:
        self._fed_bytes += len(data)
        self._raw = data if self.phase is _IDLE and len(data) <= _SMALL else b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request itself was answered; a fresh parser reads the bytes behind it.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest and self.phase is _IDLE:
                self._parse(rest)
                return
        except httptools.HttpParserCallbackError as error:
            # The parser wraps our own exceptions: report them, and do not blame the guest.
            self.dispatcher.on_internal_error(error.__context__ or error)
            self._refuse("server_error")
        except httptools.HttpParserError:
            self._refuse("malformed")
        head_bytes = self.dispatcher.bounds.head_bytes
        if self.phase <= _READING_HEAD and self._fed_bytes > head_bytes + len(_BUFFER):
            self._refuse("headers_too_large")
        if self._refusal:
            self._owed.append(self._refusal_bytes(self._refusal))
            self._refusal = ""
            self._move(_STOP)
        self._flush()

    def _flush(self, _done: object = None) -> None:
        """Write the responses that are ready, in order; pause reading while one is pending."""
        data, wait_s, resets = self._take_ready()
        if self._transport.is_closing():
            self._owed.clear()
            return
        if data:
            self._transport.write(data)
        bounds = self.dispatcher.bounds
        if self._owed:
            self._is_pending = True
            self._pause_or_resume()
            self.deadline_s = self.dispatcher.now() + bounds.answer_s + wait_s
            return
        if self._is_pending:
            self._is_pending = False
            self._pause_or_resume()
            patience_s = bounds.idle_s if self.phase is _IDLE else bounds.head_s
            self.deadline_s = self.dispatcher.now() + patience_s
        if self.phase is _DRAINING:
            self._close(by_reset=resets)

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
                self._transport.abort()
            else:
                ready.append(first.result())
            self._owed.popleft()
        return b"".join(ready), 0.0, resets

    def _request(self, method: str) -> ParsedRequest:
        is_old = self._parser.get_http_version() == "1.0"
        # The bytes behind CONNECT are not HTTP, so the connection cannot stay open.
        stays = self._parser.should_keep_alive() and method != "CONNECT"
        values = self._metadata_values
        return ParsedRequest(
            method=method,
            target=self._target,
            has_metadata_header=bool(values) and all(value == b"true" for value in values),
            is_forwarded=self._is_forwarded,
            connection=CONNECTION_CLOSE if not stays else "keep-alive" if is_old else "",
            credentials=tuple(sorted(self._credentials)),
            body=self._body,
        )

    def _respond(
        self, request: ParsedRequest
    ) -> tuple[PreparedResponse | WaitingRequest, Fault | None]:
        dispatcher, entry = self.dispatcher, self._caller()
        if entry is None:
            dispatcher.count_unknown_caller(self._peer)
            return dispatcher.respond_unknown_caller(request, self._raw_request()), None
        if dispatcher.faults:
            return dispatcher.respond_with_faults(entry, request)
        return dispatcher.respond(entry, request, self._raw_request()), None

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
            headers=tuple(self._headers),
            body=request.body,
            fault=fault.spec.effect if fault else "",
        )

    def _raw_request(self) -> bytes:
        """Return the chunk if it certainly is this one request and nothing else."""
        if self.dispatcher.observer is not None:
            return b""
        end = b"\r\n\r\n"
        # A request with Expect needs 100 Continue each time, so it is always parsed.
        is_whole = self._raw.endswith(end) and self._raw.count(end) == 1 and not self._expects
        return self._raw if is_whole else b""

    def _caller(self) -> WireEntry | None:
        """Return the calling VM, looked up anew when the fleet index has changed."""
        fleet_index = self.dispatcher.fleet_index
        if fleet_index.generation != self._generation:
            self._generation = fleet_index.generation
            listener = self._listener
            self._entry = (
                fleet_index.entry_of(listener) if listener else fleet_index.entry_at(self._peer)
            )
        return self._entry

    def _has_refusal_fault(self) -> bool:
        faults = self.dispatcher.faults
        entry = self._caller() if faults else None
        return bool(faults and entry and faults.refuses(entry.name, self.dispatcher.utc()))

    def _refuse(self, key: str) -> None:
        """Refuse the request being read; the first reason wins."""
        if self.phase < _DRAINING:
            self._refusal = self._refusal or key

    def _abort(self) -> None:
        self._move(_CLOSE)
        self._transport.abort()

    def _close(self, *, by_reset: bool = False) -> None:
        self._move(_CLOSE)
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.close_s
        if by_reset:
            reset(self._transport)
        else:
            self._transport.close()
