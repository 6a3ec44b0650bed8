"""The time-out of heads, the bound on connections, and pauses for want of descriptors."""

import asyncio
import errno
import json
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from tempfile import NamedTemporaryFile
from typing import Any, cast
from unittest.mock import Mock

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from openimds.admin.connection_shares import ConnectionShares
from openimds.admin.handovers import MOST_HANDSHAKES, TlsListeners
from openimds.admin.lazy_server import (
    CONNECTION,
    END_CONNECTION,
    HEAD_S,
    MOST_UNPROVEN_S,
    PAUSE_S,
    STALLED_S,
    Guarded,
    LazyServer,
    bind,
    url_of,
)
from openimds.credentials.pki.web_certificate import web_certificate

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Timer:
    """One that is fired by hand."""

    def __init__(self, due_s: float, act: Callable[[], None]) -> None:
        self.due_s, self.act, self.is_cancelled = due_s, act, False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The timers and tasks that a connection begins; nothing happens by itself."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self.now_s = 0.0

    def call_later(self, due_s: float, act: Callable[[], None]) -> Timer:
        self.timers.append(Timer(due_s, act))
        return self.timers[-1]

    def create_task(self, work: Any, **_: Any) -> Mock:
        work.close()
        return Mock(asyncio.Task)

    def time(self) -> float:
        return self.now_s

    def pending(self) -> list[float]:
        return [one.due_s for one in self.timers if not one.is_cancelled]

    def fire(self) -> None:
        for one in self.timers:
            if not one.is_cancelled:
                one.cancel()
                one.act()


class CallerTransport(asyncio.Transport):
    """The transport of a caller."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40000), "sockname": ("127.0.0.1", 80)})
        self.is_aborted = False
        self.written = b""

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def close(self) -> None:
        self.is_aborted = True

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def resume_reading(self) -> None:
        """Do nothing: the test hands over the bytes."""

    def pause_reading(self) -> None:
        """Do nothing, as above."""


class Connections:
    """A door's connections, with uvicorn's own protocol behind them."""

    def __init__(self, most: int = 3, kept: int = 0) -> None:
        self.shares = ConnectionShares(most, kept)
        self.state = ServerState()
        self.loop = Loop()

        class Connection(Guarded, HttpToolsProtocol):
            shares = self.shares

        self.config = uvicorn.Config(app, http=Connection, ws="none", log_config=None)
        self.make: Callable[..., Guarded] = Connection

    def connect(self, address: str = "10.0.0.4") -> tuple[Guarded, CallerTransport]:
        transport = CallerTransport(address)
        made = self.make(self.config, self.state, {}, _loop=self.loop)
        made.connection_made(transport)
        return made, transport


async def app(_scope: Any, _receive: Any, _send: Any) -> None:
    """Answer nothing."""


@pytest.fixture
def connections() -> Connections:
    return Connections()


def test_application_may_end_its_connection_without_a_response(connections: Connections) -> None:
    made, transport = connections.connect()
    made.data_received(HEAD)
    extensions: Any = made.scope["extensions"]
    extensions[END_CONNECTION]["end"]()
    assert (transport.is_aborted, transport.written) == (True, b"")


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost"])
def test_caller_without_a_whole_head_is_disconnected(connections: Connections, head: bytes) -> None:
    connection, transport = connections.connect()
    if head:
        connection.data_received(head)
    assert connections.loop.pending() == [HEAD_S]
    connections.loop.fire()
    assert transport.is_aborted
    connection.connection_lost(None)
    assert (connections.loop.pending(), len(connections.shares), connections.state.connections) == (
        [],
        0,
        set(),
    )


@pytest.mark.parametrize(
    "head",
    [
        b"this is not HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_unreadable_bytes_get_a_problem(connections: Connections, head: bytes) -> None:
    connection, transport = connections.connect()
    connection.data_received(head)
    start, body = transport.written.split(b"\r\n\r\n")
    assert start.split(b"\r\n") == [
        b"HTTP/1.1 400 Bad Request",
        b"Content-Type: application/problem+json",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    ]
    problem = json.loads(body)
    assert (problem["status"], problem["title"]) == (400, "Bad Request")
    assert "RFC 9112" in problem["detail"]
    assert transport.is_closing()


def test_request_under_way_has_no_timeout(connections: Connections) -> None:
    connection, transport = connections.connect()
    connection.data_received(HEAD[:10])
    connection.data_received(HEAD[10:])
    assert connections.loop.pending() == []
    assert not transport.is_aborted


def test_first_byte_of_the_next_head_starts_its_timeout(connections: Connections) -> None:
    connection, transport = connections.connect()
    connection.data_received(HEAD)
    connection.cycle.response_complete = True
    connection.on_response_complete()
    # uvicorn's own patience between requests, which the first byte ends.
    assert connections.loop.pending() == [connections.config.timeout_keep_alive]
    connection.data_received(HEAD[:1])
    connection.data_received(HEAD[1:2])
    assert connections.loop.pending() == [HEAD_S]
    connections.loop.fire()
    assert transport.is_aborted


def test_idle_connection_ends_for_a_newcomer(connections: Connections) -> None:
    _, first = connections.connect()
    half, second = connections.connect()
    half.data_received(HEAD[:10])
    used, third = connections.connect()
    used.data_received(HEAD)
    newcomers = [connections.connect("10.0.0.5")[1] for _ in range(3)]
    transports = [first, second, third, *newcomers]
    assert [transport.is_aborted for transport in transports] == [
        *(True, True, False),
        *(True, False, False),
    ]
    assert len(connections.shares) == 3
    assert connections.loop.pending() == [HEAD_S] * 2, "those that ended have no timer"


def complete(connection: Guarded) -> None:
    """End the request under way as the web server does."""
    cycle: Any = connection.cycle
    cycle.response_complete = True
    connection.on_response_complete()


def test_old_connection_without_a_token_ends_behind_its_answer() -> None:
    connections = Connections(8, 2)
    kinds = {"stranger": False, "operator": True}
    found = {}
    for name, has_token in kinds.items():
        made, transport = connections.connect()
        for now_s in (MOST_UNPROVEN_S, MOST_UNPROVEN_S + 1):
            connections.loop.now_s += now_s
            made.data_received(HEAD)
            if has_token:
                extensions: Any = made.scope["extensions"]
                extensions[CONNECTION]["prove"]()
            complete(made)
            found[name, now_s] = transport.is_aborted
            if transport.is_aborted:
                break
    assert found == {
        ("stranger", MOST_UNPROVEN_S): False,
        ("stranger", MOST_UNPROVEN_S + 1): True,
        ("operator", MOST_UNPROVEN_S): False,
        ("operator", MOST_UNPROVEN_S + 1): False,
    }


def test_waiting_answer_gives_way_to_a_newcomer(connections: Connections) -> None:
    held = [connections.connect() for _ in range(3)]
    for made, _ in held:
        made.data_received(HEAD)
    extensions: Any = held[1][0].scope["extensions"]
    extensions[CONNECTION]["yield"]()
    assert not connections.connect()[1].is_aborted
    assert [transport.is_aborted for _, transport in held] == [False, True, False]


def test_caller_who_does_not_read_gives_way_and_ends(connections: Connections) -> None:
    held = [connections.connect() for _ in range(3)]
    for made, _ in held:
        made.data_received(HEAD)
    held[0][0].pause_writing()
    held[1][0].pause_writing()
    held[1][0].resume_writing()
    assert connections.loop.pending() == [STALLED_S]
    assert not connections.connect()[1].is_aborted
    assert [transport.is_aborted for _, transport in held] == [True, False, False]
    held[2][0].pause_writing()
    connections.loop.fire()
    assert held[2][1].is_aborted


def test_proven_connection_keeps_its_place() -> None:
    connections = Connections(4, 1)
    made, transport = connections.connect()
    made.data_received(HEAD)
    extensions: Any = made.scope["extensions"]
    extensions[CONNECTION]["prove"]()
    complete(made)
    others = [connections.connect()[1] for _ in range(9)]
    assert not transport.is_aborted
    assert [other.is_aborted for other in others] == [True] * 6 + [False] * 3


def test_connection_that_asked_last_ends_last(connections: Connections) -> None:
    first, asked = connections.connect()
    _, second = connections.connect()
    connections.connect()
    first.data_received(HEAD)
    first.cycle.response_complete = True
    first.on_response_complete()
    connections.connect()
    assert (asked.is_aborted, second.is_aborted) == (False, True)


def test_newcomer_is_closed_where_all_others_are_busy(connections: Connections) -> None:
    busy = [connections.connect() for _ in range(3)]
    for connection, _ in busy:
        connection.data_received(HEAD)
    over, refused = connections.connect()
    assert refused.is_aborted
    over.connection_lost(None)
    assert not any(transport.is_aborted for _, transport in busy)
    assert len(connections.shares) == 3
    connection = busy[0][0]
    connection.cycle.response_complete = True
    connection.on_response_complete()
    assert not connections.connect()[1].is_aborted
    assert busy[0][1].is_aborted, "its request was answered, so it was idle"


class Port:
    """A lazy server on a port of loopback; pauses end by `resume`."""

    def __init__(self, failures: list[Exception], most: int = 8) -> None:
        self.messages: list[str] = []
        self.shortages: list[int | None] = []
        self.failures, self.loads = failures, 0
        self.pauses: list[tuple[float, Callable[[], None]]] = []
        self.paused = asyncio.Event()
        self.listening = bind("admin", ("127.0.0.1", 0))
        self.server = LazyServer(
            "admin",
            [self.listening],
            self._make,
            self.messages.append,
            lambda error: self.shortages.append(error.errno),
            most,
            self._call_later,
        )

    def _make(self) -> Any:
        self.loads += 1
        if self.failures:
            raise self.failures.pop(0)
        return answer

    def _call_later(self, pause_s: float, act: Callable[[], None]) -> None:
        self.pauses.append((pause_s, act))
        self.paused.set()

    async def resume(self) -> None:
        await self.paused.wait()
        self.paused.clear()
        self.pauses[-1][1]()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.listening.getsockname())

    async def ask(self) -> bytes:
        """Return the status line of a response on a new connection."""
        reader, writer = await self.connect()
        writer.write(HEAD)
        line = await reader.readline()
        writer.close()
        return line


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def play(work: Callable[[Port], Awaitable[None]], *failures: Exception, most: int = 8) -> Port:
    async def run() -> Port:
        port = Port(list(failures), most)
        port.server.open()
        try:
            await work(port)
        finally:
            await port.server.close()
        return port

    return asyncio.run(run())


LACK = OSError(errno.EMFILE, "Too many open files")
ANSWERED = b"HTTP/1.1 204 No Content\r\n"


@pytest.mark.parametrize(
    "failure", [LACK, ImportError("libz.so: cannot open shared object file: Too many open files")]
)
def test_load_without_descriptors_is_tried_again(failure: Exception) -> None:
    async def work(port: Port) -> None:
        asked = asyncio.create_task(port.ask())
        await port.resume()
        await port.resume()
        assert await asked == ANSWERED, "the first caller is answered in the end"
        assert await port.ask() == ANSWERED

    port = play(work, failure, failure)
    assert (port.loads, port.shortages, port.messages) == (3, [errno.EMFILE] * 2, [])
    assert [pause_s for pause_s, _ in port.pauses] == [PAUSE_S] * 2


def test_load_with_another_failure_closes_the_port() -> None:
    async def work(port: Port) -> None:
        address = port.listening.getsockname()
        reader, writer = await port.connect()
        assert await has_ended(reader)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    port = play(work, RuntimeError("ours"))
    (message,) = port.messages
    assert message.startswith("internal error in the server of --admin, which is closed now")
    assert (port.shortages, port.pauses) == ([], [])


async def has_ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection; tell whether it came before any byte."""
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


def test_close_during_a_pause_accepts_nobody() -> None:
    async def work(port: Port) -> None:
        asked = asyncio.create_task(port.ask())
        await port.paused.wait()
        await port.server.close()
        await port.resume()
        (outcome,) = await asyncio.gather(asked, return_exceptions=True)
        assert outcome == b"" or isinstance(outcome, ConnectionError)

    assert play(work, LACK).loads == 1


def test_accepting_without_descriptors_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(port: Port) -> None:
        assert await port.ask() == ANSWERED
        failures: list[Exception] = [LACK, ConnectionAbortedError()]
        listening = ListeningWithFailures(port.listening, failures)
        monkeypatch.setattr(port.server, "_sockets", [listening])
        port.server.open()
        asked = asyncio.create_task(port.ask())
        await port.paused.wait()
        assert listening.accepts == 1
        await port.resume()
        assert await asked == ANSWERED, "it waited for the end of the pause"
        assert not failures, "a caller that has gone costs no other"

    port = play(work)
    assert (port.loads, port.shortages, port.messages) == (1, [errno.EMFILE], [])


class ListeningWithFailures:
    """A listening socket whose first accepts fail."""

    def __init__(self, real: socket.socket, failures: list[Exception]) -> None:
        self.fileno, self.close = real.fileno, real.close
        self._real, self._failures = real, failures
        self.accepts = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.accepts += 1
        if self._failures:
            raise self._failures.pop(0)
        return cast("tuple[socket.socket, object]", self._real.accept())


def test_silent_connections_do_not_lock_the_port() -> None:
    async def work(port: Port) -> None:
        silent = [await port.connect() for _ in range(12)]
        assert await port.ask() == ANSWERED
        # Two of the eight places are kept for callers with a token.
        for reader, _ in silent[:7]:
            assert await has_ended(reader)
        assert not any(reader.at_eof() for reader, _ in silent[7:])
        for _, writer in silent:
            writer.close()

    port = play(work, most=8)
    assert len(port.server.shares) <= 8


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with bind("admin", ("127.0.0.1", 0)) as listening:
        LazyServer("admin", [listening], lambda: None, lambda _: None, lambda _: None, 8)
        listening.settimeout(9)
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
        with client, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


HOST = "pki.example"


def play_tls(
    work: Callable[[LazyServer, tuple[str, int], ssl.SSLContext], Awaitable[None]],
) -> None:
    """Run a server with a socket of https, whose root `work` trusts."""
    made = web_certificate([HOST], time.time())
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    with NamedTemporaryFile() as file:
        file.write(made.certificate + made.key)
        file.flush()
        serving.load_cert_chain(file.name)
    asking.load_verify_locations(cadata=made.root.decode())

    async def run() -> None:
        plain, secured = (bind("public", ("127.0.0.1", 0)) for _ in range(2))
        tls = TlsListeners((secured,), lambda: serving)
        server = LazyServer(
            "public", [plain], lambda: answer, lambda _: None, lambda _: None, 8, tls=tls
        )
        server.open()
        try:
            await work(server, secured.getsockname(), asking)
        finally:
            await server.close()

    asyncio.run(run())


async def ask_by_tls(address: tuple[str, int], context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname=HOST)
    writer.write(HEAD)
    line = await reader.readline()
    writer.transport.abort()
    return line


def test_socket_of_https_serves_the_same() -> None:
    async def work(server: LazyServer, address: tuple[str, int], context: ssl.SSLContext) -> None:
        assert await ask_by_tls(address, context) == ANSWERED
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask_by_tls(address, ssl.create_default_context())
        assert await ask_by_tls(address, context) == ANSWERED
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(HEAD)
        assert await reader.readline() == ANSWERED
        writer.close()

    play_tls(work)


def test_newcomer_gets_the_place_of_the_oldest_handshake() -> None:
    async def work(server: LazyServer, address: tuple[str, int], context: ssl.SSLContext) -> None:
        assert await ask_by_tls(address, context) == ANSWERED
        silent = [await asyncio.open_connection(*address) for _ in range(MOST_HANDSHAKES)]
        assert await ask_by_tls(address, context) == ANSWERED
        assert await has_ended(silent[0][0])
        assert not any(reader.at_eof() for reader, _ in silent[1:])
        assert len(server._handovers._shares) <= MOST_HANDSHAKES
        for _, one in silent:
            one.transport.abort()

    play_tls(work)


def test_each_connection_takes_the_context_of_its_time() -> None:
    made = [web_certificate([HOST], time.time()) for _ in range(2)]
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in made]
    asking = [ssl.create_default_context() for _ in made]
    for one, serving, client in zip(made, contexts, asking, strict=True):
        with NamedTemporaryFile() as file:
            file.write(one.certificate + one.key)
            file.flush()
            serving.load_cert_chain(file.name)
        client.load_verify_locations(cadata=one.root.decode())

    async def run() -> None:
        secured = bind("admin", ("127.0.0.1", 0))
        tls = TlsListeners((secured,), lambda: contexts[0])
        server = LazyServer("admin", (), lambda: answer, lambda _: None, lambda _: None, 8, tls=tls)
        assert server.url == url_of(secured, is_tls=True)
        assert server.url.startswith("https://127.0.0.1:")
        server.open()
        try:
            assert await ask_by_tls(secured.getsockname(), asking[0]) == ANSWERED
            contexts.reverse()
            assert await ask_by_tls(secured.getsockname(), asking[1]) == ANSWERED
        finally:
            await server.close()

    asyncio.run(run())
