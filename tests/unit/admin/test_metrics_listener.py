"""The listener for metrics alone: its requests, its Host rule, and its bounds."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from openimds.admin import metrics_listener
from openimds.admin.lazy_server import bind
from openimds.admin.metrics import Samples
from openimds.admin.metrics_listener import MOST_CONNECTIONS, MetricsListener, MetricsTexts
from openimds.errors import Error

GET = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


class ListenerRun:
    """A listener on a free port, and the number of its reads."""

    def __init__(self) -> None:
        self.reads = 0
        self.error: Error | None = None
        self.is_read, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()
        self._writers: list[asyncio.StreamWriter] = []
        sockets = (bind("metrics", ("127.0.0.1", 0)),)
        self.listener = MetricsListener(sockets, frozenset({"metrics.example"}), self._read)
        self.port = sockets[0].getsockname()[1]

    async def _read(self) -> dict[str, Samples]:
        self.reads += 1
        self.is_read.set()
        await self.may_answer.wait()
        if self.error:
            raise self.error
        return {"openimds_vms": self.reads, "openimds_throttled": {"general": 1.0}}

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def ask(self, text: str) -> str:
        """Return the answer to the bytes of a connection, which the listener ends."""
        reader, writer = await self.connect()
        writer.write(text.encode())
        return (await reader.read()).decode()

    async def close(self) -> None:
        """Close the listener, and all connections to it."""
        self.listener.close()
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def listen(work: Callable[[ListenerRun], Awaitable[None]]) -> None:
    async def whole() -> None:
        run = ListenerRun()
        await run.listener.open()
        try:
            await work(run)
        finally:
            await run.close()

    asyncio.run(whole())


def test_metrics_are_answered_in_the_format_asked_for() -> None:
    async def work(run: ListenerRun) -> None:
        plain = await run.ask(GET)
        assert plain.startswith("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;")
        assert "\nopenimds_vms 1.0\n" in plain
        accept = GET.replace("\r\n\r\n", "\r\nAccept: application/openmetrics-text\r\n\r\n")
        assert (await run.ask(accept)).endswith("# EOF\n")
        assert (await run.ask(GET.replace("/metrics", "/metrics?x=1"))).startswith("HTTP/1.1 200")
        head = await run.ask(GET.replace("GET", "HEAD"))
        assert head.startswith("HTTP/1.1 200")
        assert head.endswith("\r\n\r\n")

    listen(work)


@pytest.mark.parametrize(
    "text, status",
    [
        ("GET /v1/vms HTTP/1.1\r\nHost: localhost\r\n\r\n", "404 Not Found"),
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "405 Method Not Allowed"),
        ("GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", "421 Misdirected Request"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "421 Misdirected Request"),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", "421 Misdirected Request"),
        ("GET /metrics HTTP/1.1\r\nHost: 10.1.2.3:8172\r\n\r\n", "200 OK"),
        ("GET /metrics HTTP/1.1\r\nHost: Metrics.Example\r\n\r\n", "200 OK"),
        ("no request\r\n\r\n", "400 Bad Request"),
        ("GET /metrics HTTP/1.1\r\nHost localhost\r\n\r\n", "400 Bad Request"),
        ("GET /metrics HTTP/1.1\r\nX: " + 9000 * "x", "400 Bad Request"),
    ],
)
def test_request_is_answered_by_its_status(text: str, status: str) -> None:
    async def work(run: ListenerRun) -> None:
        answer = await run.ask(text)
        assert answer.startswith(f"HTTP/1.1 {status}\r\n")
        assert answer.count("HTTP/1.1 ") == 1

    listen(work)


def test_values_that_cannot_be_read_are_503() -> None:
    async def work(run: ListenerRun) -> None:
        run.error = Error("the process of guests does not respond")
        answer = await run.ask(GET)
        assert answer.startswith("HTTP/1.1 503 Service Unavailable")
        assert answer.endswith("cannot be read: the process of guests does not respond.\n")

    listen(work)


def test_connections_are_bounded_and_the_refused_counted() -> None:
    async def work(run: ListenerRun) -> None:
        for _ in range(MOST_CONNECTIONS):
            await run.connect()
        reader, _ = await run.connect()
        assert await reader.read() == b""
        assert run.listener.refused == 1
        assert len(run.listener.open_connections) == MOST_CONNECTIONS

    listen(work)


def test_half_a_request_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_listener, "HEAD_S", 0.01)

    async def work(run: ListenerRun) -> None:
        reader, writer = await run.connect()
        writer.write(b"GET /metrics")
        assert await reader.read() == b""
        assert not run.listener.open_connections

    listen(work)


def test_end_of_the_callers_side_does_not_lose_the_answer() -> None:
    async def work(run: ListenerRun) -> None:
        reader, writer = await run.connect()
        writer.write(GET.encode())
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")

    listen(work)


def test_closed_listener_ends_its_connections() -> None:
    async def work(run: ListenerRun) -> None:
        run.may_answer.clear()
        reader, writer = await run.connect()
        writer.write(GET.encode())
        await run.is_read.wait()
        run.listener.close()
        assert await reader.read() == b""

    listen(work)


def test_many_collectors_share_a_text() -> None:
    async def work() -> None:
        now_s, reads = 100.0, 0

        async def read() -> dict[str, Samples]:
            nonlocal reads
            reads += 1
            return {"openimds_vms": reads}

        texts = MetricsTexts(read, lambda: now_s)
        found = await asyncio.gather(*(texts.text("") for _ in range(20)))
        assert len({body for body, _ in found}) == reads == 1
        now_s += metrics_listener.FRESH_S + 0.1
        assert (await texts.text(""))[0] != found[0][0]
        assert reads == 2

    asyncio.run(work())
