"""The feed as version 1 sent it, shown by a host of this release."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec.msgpack
from msgspec import Struct

from openimds.server.hosts.port import HostsPort
from tests.unit.server.hosts.fleet import ControlSide, HostSide
from tests.unit.server.hosts.record_feed import SHOWN_S

FEED = Path(__file__).parent / "feed-v1"
CALL, RESULT, ERROR = 0, 2, 3
UNKNOWN = {"type": "SendPigeons", "count": 3}


class _Frame(Struct, array_like=True):
    kind: int
    number: int
    body: Any


class RecordedControl:
    """A control that sends what was recorded, and waits for each answer of the host."""

    def __init__(self) -> None:
        self.port = cast("HostsPort", self)
        self._connected, self.ended = asyncio.Event(), asyncio.Event()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _certificate: bytes
    ) -> None:
        self._reader, self._writer = reader, writer
        self._connected.set()
        await self.ended.wait()
        writer.close()

    async def play(self, stage: str) -> None:
        """Send the frames of a stage."""
        (path,) = FEED.glob(f"[0-9]-{stage}.bin")
        data = path.read_bytes()
        while data:
            end = 4 + int.from_bytes(data[:4], "big")
            answer = await self.send(data[:end])
            assert answer.kind != ERROR, answer
            data = data[end:]

    async def send(self, data: bytes) -> _Frame:
        """Send a frame; return the host's question before it, or its answer."""
        await self._connected.wait()
        sent = msgspec.msgpack.decode(data[4:], type=_Frame)
        if sent.kind == CALL:
            self._writer.write(data)
        got = await self._read()
        assert got.number == sent.number
        assert got.kind != sent.kind
        if sent.kind == RESULT:
            self._writer.write(data)
        return got

    async def _read(self) -> _Frame:
        async with asyncio.timeout(10):
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            return msgspec.msgpack.decode(await self._reader.readexactly(length), type=_Frame)


def replay(work: Callable[[RecordedControl, HostSide], Awaitable[None]]) -> None:
    """Do work with a host that follows the recorded control."""

    async def whole() -> None:
        control = RecordedControl()
        host = HostSide("a", {"control": cast("ControlSide", control)})
        host.host.clock.is_virtual = True
        try:
            host.follow()
            await work(control, host)
        finally:
            control.ended.set()
            await host.close()

    asyncio.run(whole())


def names(host: HostSide) -> list[str]:
    return [host.name_at(f"10.0.0.{number}") for number in range(1, 5)]


def test_recorded_feed_shows_guests_each_stage() -> None:
    async def work(control: RecordedControl, host: HostSide) -> None:
        await control.play("vms")
        assert names(host) == ["vm-1", "vm-2", "vm-3", "404"]
        assert host.follower.caught_up.is_set()
        await control.play("change")
        assert names(host) == ["vm-1", "404", "vm-3", "vm-2"]
        await control.play("clock")
        assert host.host.clock() == SHOWN_S
        await control.play("event")
        (event,) = host.events_at("10.0.0.1")["Events"]
        assert (event["EventType"], event["Resources"]) == ("Reboot", ["vm-1"])
        assert event["NotBefore"] == "Tue, 01 Jan 2030 00:15:00 GMT"
        assert host.events_at("10.0.0.4")["Events"] == []
        await control.play("fault")
        assert names(host) == ["vm-1", "404", "503", "vm-2"]
        await control.play("no-fault")
        assert names(host) == ["vm-1", "404", "vm-3", "vm-2"]
        await control.play("removal")
        assert names(host) == ["vm-1", "404", "404", "vm-2"]
        assert (host.follower.state.store, host.follower.state.revision) == ("store-1", 5)

    replay(work)


def test_unknown_message_is_refused_and_changes_nothing() -> None:
    async def work(control: RecordedControl, host: HostSide) -> None:
        await control.play("vms")
        state, shown = host.follower.state.revision, names(host)
        body = msgspec.msgpack.encode([CALL, 1_000_000, UNKNOWN])
        answer = await control.send(len(body).to_bytes(4, "big") + body)
        assert answer.kind == ERROR
        assert "SendPigeons" in str(answer.body)
        assert (host.follower.state.revision, names(host)) == (state, shown)
        await control.play("change")
        assert names(host)[3] == "vm-2"

    replay(work)
