"""Handshakes at the port for hosts: a flood of them keeps no host out."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from openimds.server.hosts import handshakes, port
from openimds.server.hosts.handshakes import Handshakes, HostHandshake, source_of
from openimds.server.hosts.messages import Welcome
from tests.unit.server.hosts.fleet import until
from tests.unit.server.hosts.real_hosts import RealControl, with_control
from tests.unit.server.hosts.test_connecting import HELLO

ANOTHER = "127.0.0.2"
HELLO_OCTET = b"\x16"


class Flood:
    """Connections that say nothing, or hardly anything."""

    def __init__(self, control: RealControl, source: str = "127.0.0.1") -> None:
        self._control, self._source = control, source
        host, number = control.address.split(":")
        self._address = (host, int(number))
        self.ends: list[socket.socket] = []

    async def open(self, sent: bytes = b"") -> socket.socket:
        """Open a connection, and send some octets."""
        loop = asyncio.get_running_loop()
        end = socket.socket()
        self.ends.append(end)
        end.settimeout(0)
        end.bind((self._source, 0))
        await loop.sock_connect(end, self._address)
        if sent:
            await loop.sock_sendall(end, sent)
        return end

    def close(self) -> None:
        for end in self.ends:
            end.close()


async def has_ended(end: socket.socket) -> bool:
    """Wait for the end of a connection."""
    try:
        return not await asyncio.get_running_loop().sock_recv(end, 1)
    except ConnectionError:
        return True


def with_flood(folder: Path, work: Callable[[RealControl, Flood], Awaitable[None]]) -> None:
    async def whole(control: RealControl) -> None:
        flood = Flood(control)
        try:
            await work(control, flood)
        finally:
            flood.close()

    with_control(folder, whole)


async def assert_served(control: RealControl) -> None:
    """Check that a real host is served."""
    talk = await control.connected(await control.joined())
    assert isinstance(await talk.ask(HELLO), Welcome)
    await talk.close()


@pytest.mark.parametrize("bound", ["MOST_PER_SOURCE", "MOST_HANDSHAKES"])
def test_flood_of_silent_connections_keeps_no_host_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(handshakes, bound, 3)

    async def work(control: RealControl, flood: Flood) -> None:
        ends = [await flood.open() for _ in range(8)]
        for end in ends[:5]:
            assert await has_ended(end)
        assert control.port._handshakes.count == 3
        await assert_served(control)

    with_flood(tmp_path, work)


@pytest.mark.parametrize("bound", ["MOST_PER_SOURCE", "MOST_HANDSHAKES"])
def test_slow_handshake_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(handshakes, bound, 2)
    monkeypatch.setattr(handshakes, "SLOW_S", 0.0)

    async def work(control: RealControl, flood: Flood) -> None:
        for _ in range(2):
            await flood.open(HELLO_OCTET)
        await until(lambda: not any_silent(control))
        await assert_served(control)
        assert await has_ended(flood.ends[0])

    with_flood(tmp_path, work)


def any_silent(control: RealControl) -> bool:
    under_way = control.port._handshakes._under_way
    return len(under_way) < 2 or any(one.is_silent for one in under_way)


def test_handshakes_of_one_source_leave_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "MOST_PER_SOURCE", 2)
    monkeypatch.setattr(handshakes, "SLOW_S", 1000.0)

    async def work(control: RealControl, _: Flood) -> None:
        flood = Flood(control, ANOTHER)
        for _number in range(2):
            await flood.open(HELLO_OCTET)
        await until(lambda: not any_silent(control))
        assert await has_ended(await flood.open(HELLO_OCTET))
        assert control.port._handshakes.count == 2
        await assert_served(control)
        flood.close()
        await until(lambda: control.port._handshakes.count == 0)
        assert not control.port._handshakes._counts

    with_flood(tmp_path, work)


def test_silent_connection_ends_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "UNPROVEN_S", 0.01)

    async def work(control: RealControl, flood: Flood) -> None:
        assert await has_ended(await flood.open())
        assert await has_ended(await flood.open(HELLO_OCTET))
        assert await has_ended(await flood.open(b"GET / HTTP/1.1\r\n\r\n"))
        await until(lambda: control.port._handshakes.count == 0)

    with_flood(tmp_path, work)


def test_closed_port_ends_handshakes(tmp_path: Path) -> None:
    async def work(control: RealControl, flood: Flood) -> None:
        ends = [await flood.open(), await flood.open(HELLO_OCTET)]
        await until(lambda: control.port._handshakes.count == 2)
        control.port._handshakes._begin(
            socket.socket(), "a socket whose task has not begun", asyncio.get_running_loop()
        )
        await control.port.close()
        for end in ends:
            assert await has_ended(end)
        assert control.port._handshakes.count == 0

    with_flood(tmp_path, work)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED])
def test_failed_accept_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(handshakes, "PAUSE_S", 0.0)

    async def work(control: RealControl, flood: Flood) -> None:
        await control.port.close()
        loop = asyncio.get_running_loop()
        accept, failures = loop.sock_accept, [OSError(number, "it fails")]

        async def fail(listening: socket.socket) -> Any:
            if failures:
                raise failures.pop()
            return await accept(listening)

        with patch.object(loop, "sock_accept", fail):
            await control.open()
            await assert_served(control)
        assert not failures

    with_flood(tmp_path, work)


def test_addresses_of_one_network_are_one_source() -> None:
    assert source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8::1") == source_of("2001:db8::2:3")
    assert source_of("fe80::1%eth0") != source_of("2001:db8::1")


def test_first_octet_takes_from_the_time_of_the_handshake() -> None:
    async def whole() -> None:
        loop, limits = asyncio.get_running_loop(), list[float]()

        async def connect(*_: Any, ssl_handshake_timeout: float, **__: Any) -> Any:
            limits.append(ssl_handshake_timeout)
            raise OSError("enough")

        ours, theirs = socket.socketpair()
        with ours, theirs, patch.object(loop, "connect_accepted_socket", connect):
            theirs.send(HELLO_OCTET)
            shaking = Handshakes(ssl.create_default_context(), serve_nothing, 15.0)
            begun = HostHandshake(ours, "source", loop.time() - 10.0)
            with pytest.raises(OSError, match="enough"):
                await shaking._shake(begun, loop)
        assert 0 < limits[0] <= 5.0

    asyncio.run(whole())


async def serve_nothing(*_: object) -> None:
    """Serve no connection."""
