"""All parts of one server, inside a running loop."""

import asyncio
import gc
import socket
from pathlib import Path

import pytest

from openimds.config import configure
from openimds.errors import ConfigError
from openimds.fleet.store.state import State
from openimds.server.build import build
from openimds.server.inherited_sockets import InheritedSockets
from openimds.settings import resolve

WHOLE = b"GET /metadata/versions HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n"
HALF = b"GET /metadata/versions HTTP/1.1\r\nHost: 169.254.169.254\r\n"


def descriptors() -> set[Path]:
    """Return what this process has open."""
    return {*Path("/proc/self/fd").iterdir()}


async def last_words(said: bytes) -> bytes:
    """Ask a server one question, say more, stop it, and return what it said after its answer."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = configure(resolve({"admin": "none", "public": "none"}, {}, {}))
    server = build(config, lambda _: None, InheritedSockets(dispatcher=((listening, ""),)))
    await server.start()
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(WHOLE + said)
    await reader.readuntil(b"]}")
    await server.stop(patience_s=0)
    heard = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert len(server.dispatcher.connections) == 0
    return heard


def test_a_server_without_patience_cuts_a_request_that_is_half_read() -> None:
    assert asyncio.run(last_words(HALF)).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_asks_nothing_ends_without_a_word() -> None:
    assert asyncio.run(last_words(b"")) == b""


def test_starting_leaves_the_collector_of_the_process_alone() -> None:
    before = gc.get_freeze_count()
    asyncio.run(last_words(b""))
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


@pytest.mark.parametrize(
    "bad", [{"attest_key": "no certificates"}, {"event_hook": "'"}, {"public": "unix:/no.sock"}]
)
def test_a_server_that_cannot_be_put_together_keeps_nothing(
    bad: dict[str, str], tmp_path: Path
) -> None:
    said = {"admin": "none", "public": "127.0.0.1:0", "state": str(tmp_path), **bad}

    async def fail() -> None:
        before = descriptors()
        # What was raised is held, and with it all that was not closed.
        with pytest.raises(ConfigError) as caught:
            build(configure(resolve(said, {}, {})), lambda _: None)
        assert descriptors() == before
        del caught

    asyncio.run(fail())
    State(tmp_path).close()
