"""One connection: bytes to requests, requests to replies.

The parser is httptools. What it leaves open is decided here: sizes are bounded, HTTP/0.9 and a
missing Host are refused, absolute-form targets are taken, `Expect: 100-continue` is answered, an
`Upgrade` is ignored, pipelined requests are answered in order in one write.

A chunk that holds exactly one complete request, equal to the byte to one that was answered before,
is not parsed again: the same bytes mean the same, so its prepared reply is looked up by them.
"""

import asyncio
from collections import deque
from typing import cast

import httptools

from openimds.dataplane.dispatcher import Dispatcher, ParsedRequest, WaitingRequest, WireEntry
from openimds.dataplane.fault_delivery import FaultyDelivery, reset
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.response_bytes import CLOSE, PreparedResponse
from openimds.protocol.faults.fault import Fault

_BUFFER = bytearray(16384)
"""Where every connection receives: a chunk is dealt with before the next one is read."""
_VIEW = memoryview(_BUFFER)
_SMALL = 2048
"""Requests up to this size are looked up by their bytes."""
_NEVER = float("inf")
_NO_REQUEST = ParsedRequest("", b"", has_metadata_header=False, is_forwarded=False, connection="")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.BufferedProtocol):
    """One connection. `listener` is set where the listener belongs to one VM."""

    def __init__(self, dispatcher: Dispatcher, listener: str = "") -> None:
        """Prepare for a connection."""
        self.dispatcher = dispatcher
        self.deadline_s = _NEVER
        self._listener = listener
        self._peer = ""
        self._edition = -1
        self._entry: WireEntry | None = None
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser = httptools.HttpRequestParser(self)
        self._out: deque[bytes | asyncio.Task[bytes] | FaultyDelivery] = deque()
        self._is_waiting = self._is_full = self._is_paused = False
        self._is_closing = self._resets = False
        self._begin()

    def _begin(self) -> None:
        """Forget the last request."""
        self._is_idle = True
        self._in_head = True
        self._target = b""
        self._head_bytes = self._body_bytes = self._header_count = self._host_count = 0
        self._fed_bytes = 0
        self._has_metadata_header = self._is_forwarded = self._expects = False
        self._metadata_values: list[bytes] = []
        self._credentials: list[tuple[str, str]] = []
        self._headers: list[tuple[str, str]] = []
        self._body = b""
        self._broken = ""

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, unless there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = self._listener or (str(peer[0]) if isinstance(peer, tuple) else "")
        if not self.dispatcher.connections.add(self, self._peer):
            self._is_closing = True
            self._transport.abort()
            return
        if self._is_refused():
            self._is_closing = True
            reset(self._transport)
            return
        self._transport.set_write_buffer_limits(high=self.dispatcher.bounds.write_high_bytes)
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.head_s

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget the connection."""
        self.dispatcher.connections.remove(self, self._peer)
        for one in self._out:
            if isinstance(one, FaultyDelivery):
                one.cancel()

    def pause_writing(self) -> None:
        """Stop reading from a caller who does not read."""
        self._is_full = True
        self._settle()

    def resume_writing(self) -> None:
        """Read again."""
        self._is_full = False
        self._settle()

    def _settle(self) -> None:
        """Read while the caller reads too, and nothing has to be made first."""
        shall_pause = self._is_full or self._is_waiting
        if shall_pause == self._is_paused:
            return
        self._is_paused = shall_pause
        if shall_pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def get_buffer(self, _sizehint: int) -> bytearray:
        """Receive into the one buffer."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Answer what has arrived."""
        data = bytes(_VIEW[:nbytes])
        if self._is_idle and not self._is_closing and not self._out:
            dispatcher, entry = self.dispatcher, self._caller()
            reply = (
                entry.responses if entry else dispatcher.unknown_caller_responses
            ).by_request.get(data)
            if reply is not None and dispatcher.is_good(reply):
                now_s = dispatcher.now()
                if entry is None:
                    dispatcher.meet(self._peer)
                elif not entry.grants(reply.limit, dispatcher.allowances, now_s):
                    reply = dispatcher.refused(reply)
                self.deadline_s = now_s + dispatcher.bounds.idle_s
                self._transport.write(dispatcher.send(reply, dispatcher.utc()))
                if reply.closes:
                    self._close()
                return
        self._parse(data)

    def expire(self) -> None:
        """End a connection whose time is up: in silence when idle, with 408 inside a request.

        One that was closed and still has not taken its last words is cut.
        """
        if self._is_closing or self._out:
            self._transport.abort()
            return
        if not self._is_idle:
            self._transport.write(self._last_words("too_slow"))
        self._close()

    def drain(self) -> None:
        """End the connection as soon as no request is half read."""
        if self._out:
            self._is_closing = True  # When the last reply is out.
            first = self._out[0]
            if isinstance(first, FaultyDelivery) and first.is_endless:
                self._transport.abort()
        elif self._is_idle:
            self._close()
        else:
            self.deadline_s = min(self.deadline_s, self.dispatcher.now() + 1)

    # The parser's side.

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        self._is_idle = False
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.head_s

    def on_url(self, url: bytes) -> None:
        """Collect the target; it may come in pieces."""
        self._target += url
        if len(self._target) > self.dispatcher.bounds.target_bytes:
            self._break("target_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look at the headers that matter, and weigh them all."""
        self._head_bytes += len(name) + len(value) + 4
        self._header_count += 1
        bounds = self.dispatcher.bounds
        if self._head_bytes > bounds.head_bytes or self._header_count > bounds.header_count:
            self._break("headers_too_large")
        if not self._in_head:
            return  # A trailer behind a chunked body is weighed, and is no header.
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
                    self._break("expectation_unknown")

    def on_headers_complete(self) -> None:
        """Check what the parser left open, and go on to the body."""
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._break("malformed")
        elif version == "1.1" and self._host_count != 1:
            self._break("host_missing")
        self._in_head = False
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.body_s
        if self._expects and version == "1.1" and not self._broken:
            self._out.append(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Collect a body."""
        self._body_bytes += len(body)
        if self._body_bytes > self.dispatcher.bounds.body_bytes:
            self._break("body_too_large")
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """Answer a request."""
        if self._broken or self._is_closing:
            return
        request = self._request(self._parser.get_method().decode())
        reply, fault = self._reply(request)
        heard = self._heard(request, fault) if self.dispatcher.observer is not None else None
        if fault is not None:
            self._out.append(
                FaultyDelivery(self.dispatcher, fault, heard, self._flush).start(reply)
            )
        elif isinstance(reply, PreparedResponse):
            self._out.append(self._say(reply, heard))
        else:
            task = asyncio.get_running_loop().create_task(self._fulfil(reply, heard))
            task.add_done_callback(self._flush)
            self._out.append(task)
        self._is_closing = request.connection == CLOSE or bool(fault and fault.row.ends)
        self._begin()
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.idle_s

    # Between the two.

    def _parse(self, data: bytes) -> None:
        self._fed_bytes += len(data)
        self._raw = data if self._is_idle and len(data) <= _SMALL else b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request itself was answered; whatever follows it is read by a fresh parser.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest and not self._is_closing and not self._broken:
                self._raw = b""
                self._parse(rest)
                return
        except httptools.HttpParserCallbackError as error:
            # A mistake of ours, wrapped by the parser: not the guest's, and not to be hidden.
            self.dispatcher.on_internal_error(error.__context__ or error)
            self._break("server_error")
        except httptools.HttpParserError:
            self._break("malformed")
        if self._in_head and self._fed_bytes > self.dispatcher.bounds.head_bytes + len(_BUFFER):
            self._break("headers_too_large")
        if self._broken and not self._is_closing:
            self._out.append(self._last_words(self._broken))
            self._is_closing = True
        self._flush()

    def _flush(self, _done: object = None) -> None:
        """Write what is ready, in the order of the requests; until all is, read no more."""
        data, more_s = self._take()
        if self._transport.is_closing():
            self._out.clear()
            return
        if data:
            self._transport.write(data)
        if self._out:
            self._is_waiting = True
            self._settle()
            self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.answer_s + more_s
            return
        if self._is_waiting:
            self._is_waiting = False
            self._settle()
            bounds = self.dispatcher.bounds
            wait_s = bounds.idle_s if self._is_idle else bounds.head_s
            self.deadline_s = self.dispatcher.now() + wait_s
        if self._is_closing:
            self._close()

    def _take(self) -> tuple[bytes, float]:
        """Return what is ready, and how long the next piece takes at least."""
        ready: list[bytes] = []
        while self._out:
            first = self._out[0]
            if isinstance(first, bytes):
                ready.append(first)
            elif isinstance(first, FaultyDelivery):
                ready.append(first.take())
                if not first.is_over:
                    return b"".join(ready), first.wait_s
                self._resets = first.resets
            elif first.cancelled():  # The loop ends before the answer was made.
                self._transport.abort()
            elif first.done():
                ready.append(first.result())
            else:
                break
            self._out.popleft()
        return b"".join(ready), 0.0

    def _request(self, method: str) -> ParsedRequest:
        keeps = self._parser.should_keep_alive()
        is_old = self._parser.get_http_version() == "1.0"
        # What follows CONNECT is no HTTP, whatever we said to it.
        keeps = keeps and method != "CONNECT"
        connection = CLOSE if not keeps else "keep-alive" if is_old else ""
        values = self._metadata_values
        return ParsedRequest(
            method=method,
            target=self._target,
            has_metadata_header=bool(values) and all(value == b"true" for value in values),
            is_forwarded=self._is_forwarded,
            connection=connection,
            credentials=tuple(sorted(self._credentials)),
            body=self._body,
        )

    def _reply(
        self, request: ParsedRequest
    ) -> tuple[PreparedResponse | WaitingRequest, Fault | None]:
        entry = self._caller()
        if entry is None:
            self.dispatcher.meet(self._peer)
            return self.dispatcher.unknown_caller(request, self._raw_request()), None
        if self.dispatcher.faults:
            return self.dispatcher.troubled(entry, request)
        return self.dispatcher.reply(entry, request, self._raw_request()), None

    async def _fulfil(self, waiting: WaitingRequest, heard: ObservedRequest | None) -> bytes:
        return self._say(await self.dispatcher.fulfil(waiting), heard)

    def _say(self, reply: PreparedResponse, heard: ObservedRequest | None) -> bytes:
        """Return the bytes of a reply, and let who looks on know."""
        said = self.dispatcher.send(reply, self.dispatcher.utc())
        if heard is not None and self.dispatcher.observer is not None:
            self.dispatcher.observer.observe(heard, reply, said)
        return said

    def _last_words(self, key: str) -> bytes:
        heard = self._heard(_NO_REQUEST) if self.dispatcher.observer is not None else None
        return self._say(self.dispatcher.broken(key), heard)

    def _heard(self, request: ParsedRequest, fault: Fault | None = None) -> ObservedRequest:
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
        """Return the chunk if it is certain to be this one request and nothing else."""
        if self.dispatcher.observer is not None:
            return b""
        end = b"\r\n\r\n"
        # A request that expects must be answered with 100 Continue each time, so it is parsed.
        is_whole = self._raw.endswith(end) and self._raw.count(end) == 1 and not self._expects
        return self._raw if is_whole else b""

    def _caller(self) -> WireEntry | None:
        """Return who asks, looked up anew when the picture has changed."""
        fleet_index = self.dispatcher.fleet_index
        if fleet_index.generation != self._edition:
            self._edition = fleet_index.generation
            listener = self._listener
            self._entry = (
                fleet_index.owner(listener) if listener else fleet_index.caller(self._peer)
            )
        return self._entry

    def _is_refused(self) -> bool:
        faults = self.dispatcher.faults
        entry = self._caller() if faults else None
        return bool(faults and entry and faults.refuses(entry.name, self.dispatcher.utc()))

    def _break(self, key: str) -> None:
        self._broken = self._broken or key

    def _close(self) -> None:
        self._is_closing = True
        self.deadline_s = self.dispatcher.now() + self.dispatcher.bounds.close_s
        if self._resets:
            reset(self._transport)
        else:
            self._transport.close()
