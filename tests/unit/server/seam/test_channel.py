"""Calls over a pair of sockets: results, errors, and the end of the other side."""

import asyncio
import errno
import gc
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec.json
import msgspec.msgpack
import pytest
from msgspec import Struct, ValidationError

from openimds.errors import ConfigError, Error, shortage
from openimds.fleet.quarantine import TakenError
from openimds.fleet.store.port import StoreError
from openimds.server.seam.channel import (
    CertificateRefusedError,
    Channel,
    ChannelClosedError,
    WireError,
    from_wire,
    open_channel,
    to_wire,
)
from openimds.server.seam.messages import (
    MAX_FRAME_BYTES,
    BeginSnapshot,
    CallCredentials,
    CountFaults,
    FromControl,
    FromHost,
    ReadFindings,
    ReadLastNumber,
    SeamMessage,
)
from tests.unit.server.hosts.fleet import until

Answer = Callable[[SeamMessage], Awaitable[Any]]


async def _nothing(_: SeamMessage) -> None:
    return None


def joined(answer: Answer, work: Callable[[Channel, socket.socket], Awaitable[None]]) -> None:
    """Do work with control's channel; the other end gives answers."""

    async def whole() -> None:
        ours, theirs = socket.socketpair()
        host = await open_channel(theirs, FromControl, answer)
        control = await open_channel(ours, FromHost, _nothing)
        tasks = [asyncio.create_task(one.run()) for one in (host, control)]
        await work(control, ours)
        control.close()
        host.close()
        await asyncio.gather(*tasks)

    asyncio.run(whole())


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("vms.a", "1", "2", "Write 2"),
        TakenError(ConfigError("vms.a.reach", "1", "2"), "a", "10.0.0.1", "b"),
        StoreError("fleet.db: the disk is full"),
        Error("a key cannot be read"),
        CertificateRefusedError("the host a is revoked"),
    ],
)
def test_error_passes_with_its_type_and_parts(error: Error) -> None:
    passed = from_wire(to_wire(error))
    assert type(passed) is type(error)
    assert str(passed) == str(error)
    if isinstance(error, TakenError):
        assert isinstance(passed, TakenError)
        assert (passed.name, passed.claim, passed.other) == ("a", "10.0.0.1", "b")


def test_release_before_reads_the_refusal_of_a_certificate() -> None:
    class WireErrorBefore(Struct, frozen=True):
        kind: str
        parts: tuple[str, ...]
        number: int = 0

    octets = msgspec.msgpack.encode(to_wire(CertificateRefusedError("revoked")))
    before = msgspec.msgpack.decode(octets, type=WireErrorBefore)
    assert before == WireErrorBefore("error", ("revoked",))
    octets = msgspec.msgpack.encode(before)
    assert type(from_wire(msgspec.msgpack.decode(octets, type=WireError))) is Error


def test_shortage_behind_an_error_passes() -> None:
    error = ConfigError("listen", "1", "2")
    error.__cause__ = OSError(errno.EMFILE, "too many")
    behind = shortage(from_wire(to_wire(error)))
    assert behind is not None
    assert behind.errno == errno.EMFILE


def test_internal_error_names_its_type() -> None:
    assert "ZeroDivisionError" in str(from_wire(to_wire(ZeroDivisionError("by 0"))))


def test_calls_at_the_same_time_get_their_own_results() -> None:
    gate = asyncio.Event()

    async def answer(message: SeamMessage) -> Any:
        if isinstance(message, ReadLastNumber):
            await gate.wait()
            return 7
        gate.set()
        return {"rule": 1}

    async def work(channel: Channel, _: socket.socket) -> None:
        results: object = await asyncio.gather(
            channel.call(ReadLastNumber()), channel.call(ReadFindings())
        )
        assert results == [7, {"rule": 1}]

    joined(answer, work)


def test_call_beyond_the_bound_waits_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.server.seam.channel.MOST_CALLS", 2)
    gate, posted = asyncio.Event(), asyncio.Event()
    begun = 0

    async def answer(message: SeamMessage) -> Any:
        nonlocal begun
        if not isinstance(message, ReadLastNumber):
            posted.set()
            return None
        begun += 1
        await gate.wait()
        return 7

    async def work(channel: Channel, _: socket.socket) -> None:
        calls = [asyncio.create_task(channel.call(ReadLastNumber())) for _ in range(3)]
        await asyncio.sleep(0)  # Each task has sent its call, or waits for a place.
        channel.post(ReadFindings())
        await posted.wait()
        assert begun == 2
        gate.set()
        assert await asyncio.gather(*calls) == [7, 7, 7]

    joined(answer, work)


def test_call_that_is_cancelled_while_it_is_sent_is_not_logged() -> None:
    logged: list[dict[str, Any]] = []

    async def whole() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        ours, theirs = socket.socketpair()
        with theirs:  # It reads nothing.
            channel = await open_channel(ours, FromHost, _nothing)
            call = asyncio.create_task(channel.call(CallCredentials("keys", (b"x" * (8 << 20),))))
            await until(lambda: bool(channel.unsent_bytes))
            channel.abort()
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()

    asyncio.run(whole())
    gc.collect()
    assert not logged


def test_result_of_another_type_fails_its_call_alone() -> None:
    async def answer(message: SeamMessage) -> Any:
        return "none" if isinstance(message, ReadLastNumber) else {}

    async def work(channel: Channel, _: socket.socket) -> None:
        with pytest.raises(ValidationError, match="Expected `int`"):
            await channel.call(ReadLastNumber())
        assert await channel.call(CountFaults()) == {}

    joined(answer, work)


def test_call_under_way_fails_when_the_other_end_goes() -> None:
    asked = asyncio.Event()

    async def answer(_: SeamMessage) -> Any:
        asked.set()
        await asyncio.Event().wait()

    async def work(channel: Channel, ours: socket.socket) -> None:
        call = asyncio.create_task(channel.call(BeginSnapshot()))
        await asked.wait()
        channel.close()
        with pytest.raises(ChannelClosedError):
            await call
        with pytest.raises(ChannelClosedError):
            await channel.call(BeginSnapshot())
        channel.post(BeginSnapshot())  # It matters to nobody.

    joined(answer, work)


@pytest.mark.parametrize(
    "error",
    [ssl.SSLError(1, "application data after close notify"), TimeoutError(errno.ETIMEDOUT, "late")],
)
def test_error_of_the_connection_ends_the_channel(error: OSError) -> None:
    async def work(channel: Channel, _: socket.socket) -> None:
        channel._reader.set_exception(error)
        with pytest.raises(ChannelClosedError):
            await channel.call(CountFaults())
        with pytest.raises(ChannelClosedError):
            await channel._drain()

    joined(_nothing, work)


def test_message_that_is_too_long_fails_at_its_sender_alone() -> None:
    async def answer(message: SeamMessage) -> Any:
        if isinstance(message, ReadFindings):
            return {"r" * MAX_FRAME_BYTES: 1}
        return 7

    async def work(channel: Channel, _: socket.socket) -> None:
        long = CallCredentials("rotate", ("r" * MAX_FRAME_BYTES,))
        for message in (long, ReadFindings()):
            with pytest.raises(Error, match="exceeds the bound of 64 MiB"):
                await channel.call(message)
        assert await channel.call(ReadLastNumber()) == 7

    joined(answer, work)


def test_work_begun_for_an_ended_channel_ends_before_it() -> None:
    steps: list[str] = []
    asked, gate = asyncio.Event(), asyncio.Event()

    async def answer(_: SeamMessage) -> Any:
        asked.set()
        await gate.wait()
        steps.append("work")

    async def whole() -> None:
        ours, theirs = socket.socketpair()
        host = await open_channel(theirs, FromControl, answer)
        control = await open_channel(ours, FromHost, _nothing)
        reading = asyncio.create_task(host.run())
        control.post(ReadLastNumber())
        await asked.wait()
        control.close()
        asyncio.get_running_loop().call_later(0.01, gate.set)
        await reading
        steps.append("end")

    asyncio.run(whole())
    assert steps == ["work", "end"]


@pytest.mark.parametrize(
    "octets",
    [
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x04\x94\x00\x01",
    ],
    ids=["too long", "no MessagePack", "cut off"],
)
def test_octets_that_are_no_frame_end_the_channel(octets: bytes) -> None:
    async def whole() -> None:
        ours, theirs = socket.socketpair()
        channel = await open_channel(ours, FromHost, _nothing)
        theirs.sendall(octets)
        theirs.shutdown(socket.SHUT_WR)
        await channel.run()
        assert channel.is_closed
        theirs.close()

    asyncio.run(whole())


def test_handler_that_cannot_read_its_data_is_an_internal_error() -> None:
    async def answer(_: SeamMessage) -> Any:
        return msgspec.json.decode(b"1", type=str)

    async def work(channel: Channel, _: socket.socket) -> None:
        with pytest.raises(RuntimeError, match="ValidationError"):
            await channel.call(ReadLastNumber())

    joined(answer, work)
