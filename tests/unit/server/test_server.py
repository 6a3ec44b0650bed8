"""The lifecycle of one server inside a running loop."""

import asyncio
import gc
import os
import socket
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import msgspec.json
import pytest

from openimds.errors import ConfigError
from openimds.fleet.index import FleetIndex
from openimds.fleet.store.state import State
from openimds.server.build import build
from openimds.server.host import Host
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.startup import load
from openimds.settings import Settings

COMPLETE = b"GET /metadata/versions HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n"
HALF = b"GET /metadata/versions HTTP/1.1\r\nHost: 169.254.169.254\r\n"


def descriptors() -> set[Path]:
    """Return the open file descriptors of this process."""
    return {*Path("/proc/self/fd").iterdir()}


async def bytes_after_stop(more: bytes) -> bytes:
    """Send a request and `more`, stop the server, and return the bytes after the response."""
    listening = socket.create_server(("127.0.0.1", 0))
    startup = load(Settings(admin="none", public="none"))
    server = build(startup, lambda _: None, InheritedSockets(dataplane=((listening, ""),)))
    await server.start()
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(COMPLETE + more)
    await reader.readuntil(b"]}")
    await server.stop(patience_s=0)
    received = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert len(server.dispatcher.connections) == 0
    return received


def test_stop_without_patience_answers_half_a_request_with_408() -> None:
    assert asyncio.run(bytes_after_stop(HALF)).startswith(b"HTTP/1.1 408 ")


def test_stop_closes_an_idle_connection_without_a_byte() -> None:
    assert asyncio.run(bytes_after_stop(b"")) == b""


def test_start_leaves_the_garbage_collector_alone() -> None:
    gc.unfreeze()  # The frozen objects of other tests end meanwhile.
    asyncio.run(bytes_after_stop(b""))
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("count, times", [(2, 0), (3, 1)])
def test_start_compacts_the_index_of_a_large_fleet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, times: int
) -> None:
    monkeypatch.setattr("openimds.server.control._LARGE_FLEET", 3)
    file = tmp_path / "fleet.json"
    file.write_bytes(msgspec.json.encode({"vms": {f"vm-{number}": {} for number in range(count)}}))
    startup = load(Settings(admin="none", listen="127.0.0.1:0", fleet=str(file)))

    async def work() -> int:
        server = build(startup, lambda _: None)
        with patch.object(
            FleetIndex, "compact", autospec=True, side_effect=FleetIndex.compact
        ) as compact:
            await server.start()
        assert len(server.dispatcher.fleet_index.by_name) == count
        await server.stop(patience_s=0)
        return compact.call_count

    assert asyncio.run(work()) == times


@pytest.mark.parametrize(
    "bad",
    [
        {"attest_key": "none.pem", "attest_certificates": "none.pem"},
        {"event_hook": "'"},
        {"public": "unix:/no.sock"},
    ],
)
def test_failed_build_leaves_nothing_open(bad: dict[str, Any], tmp_path: Path) -> None:
    values = {"admin": "none", "public": "127.0.0.1:0", "state": str(tmp_path), **bad}
    startup = load(Settings(**values))

    async def fail() -> None:
        before = descriptors()
        # The caught exception holds the frames of the failed build, and all that is open in them.
        with pytest.raises(ConfigError) as caught:
            build(startup, lambda _: None)
        # Those that earlier tests left to the garbage collector may have gone meanwhile.
        assert descriptors() <= before
        del caught

    asyncio.run(fail())
    State(tmp_path).close()


def test_step_of_the_wall_clock_drops_what_it_makes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.server.host._SWEEP_S", 0.0)
    startup = load(Settings(admin="none", public="none", listen="127.0.0.1:0"))
    has_followed = asyncio.Event()

    async def take_clock(_: Host) -> None:
        has_followed.set()

    monkeypatch.setattr(Host, "take_clock", take_clock)

    async def play() -> None:
        messages = asyncio.Queue[str]()
        server = build(startup, messages.put_nowait)
        host = server.host
        host.credentials.forget_future = forget = Mock()  # type: ignore[method-assign]
        host.clock_watch.look = Mock(side_effect=[0.0, -7200.0, *[0.0] * 9999])  # type: ignore[method-assign]
        await server.start()
        while not (message := await messages.get()).startswith("the wall clock was set back by"):
            pass
        assert "7200 s" in message
        await has_followed.wait()
        assert forget.call_count == 1
        await server.stop(patience_s=0)

    asyncio.run(play())


def test_step_of_the_wall_clock_sets_the_timers_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.server.control._CLOCK_S", 0.0)
    steps = iter([0.0, 3600.0])
    monkeypatch.setattr(
        "openimds.server.control.ClockWatch", lambda *_: Mock(look=lambda: next(steps, 0.0))
    )
    startup = load(Settings(admin="none", public="none", listen="127.0.0.1:0"))

    async def play() -> None:
        server = build(startup, lambda _: None)
        has_followed = asyncio.Event()

        async def follow() -> None:
            has_followed.set()

        server.control.events_service.follow_clock_step = follow  # type: ignore[method-assign]
        await server.start()
        await has_followed.wait()
        await server.stop(patience_s=0)

    asyncio.run(play())


def test_token_opened_to_others_while_serving_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openimds.server.control._TOKEN_S", 0.001)

    async def work() -> list[str]:
        found = asyncio.Event()
        messages: list[str] = []

        def notify(message: str) -> None:
            messages.append(message)
            if message.startswith("admin token"):
                found.set()

        startup = load(
            Settings(listen="127.0.0.1:0", admin="127.0.0.1:0", public="none", state=str(tmp_path))
        )
        server = build(startup, notify)
        ready = await server.start()
        assert ready.token_file
        os.chmod(ready.token_file, 0o644)  # noqa: PTH101 - one quick call
        await asyncio.wait_for(found.wait(), 30)
        await server.stop(patience_s=0)
        return [message for message in messages if message.startswith("admin token")]

    (message,) = asyncio.run(work())
    assert f"chmod 600 {tmp_path}" in message
