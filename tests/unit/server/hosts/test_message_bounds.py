"""The messages of a caller that control answers at the same time."""

import asyncio
import socket

import msgspec.msgpack
import pytest

from openimds.server.hosts.messages import Join, JoinedHost
from openimds.server.hosts.port import MOST_MESSAGES, MOST_UNPROVEN_MESSAGES, HostsPort
from openimds.server.seam.channel import MOST_CALLS
from tests.unit.server.hosts.fleet import Authority


@pytest.mark.parametrize("name, most", [("", MOST_UNPROVEN_MESSAGES), ("a", 7)])
def test_caller_has_few_messages_under_way(
    name: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller may send frames and read no answer."""
    monkeypatch.setattr("openimds.server.hosts.port.MOST_MESSAGES", 7)
    count, under_way, most_seen, done = 200, 0, 0, 0

    class SlowAuthority(Authority):
        async def join(self, name: str, secret: bytes, csr: bytes) -> JoinedHost:
            nonlocal under_way, most_seen, done
            under_way += 1
            most_seen = max(most_seen, under_way)
            for _ in range(3):
                await asyncio.sleep(0)
            under_way, done = under_way - 1, done + 1
            return await super().join(name, secret, csr)

    async def whole() -> None:
        port = HostsPort(SlowAuthority(), {}, lambda _: None)
        ours, theirs = socket.socketpair()
        with theirs:
            _, writer = await asyncio.open_connection(sock=ours)
            reader = asyncio.StreamReader()
            for number in range(count):
                frame = msgspec.msgpack.encode([0, number, Join("n", b"", b"")])
                reader.feed_data(len(frame).to_bytes(4, "big") + frame)
            reader.feed_eof()
            await port.serve(reader, writer, name.encode())

    asyncio.run(whole())
    assert (done, most_seen) == (count, most)
    assert MOST_UNPROVEN_MESSAGES == 1


def test_bound_of_a_host_is_above_that_of_its_calls() -> None:
    assert MOST_MESSAGES == 2 * MOST_CALLS == 2048
