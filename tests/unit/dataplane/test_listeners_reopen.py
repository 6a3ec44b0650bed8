"""A listener that was closed is opened again where it was, and still belongs to its VM."""

import asyncio
from pathlib import Path

import pytest

from openimds.dataplane.listeners import bound_address, listen
from openimds.errors import ConfigError
from tests.support.talk import a_dispatcher, a_fleet, an_index, replies, request

ASK = request(
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
    headers={"Metadata": "true", "Connection": "close"},
)


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0"])
def test_a_port_that_was_drawn_is_kept(text: str) -> None:
    async def play() -> None:
        dispatcher = a_dispatcher(an_index(*a_fleet(a={"reach": {"listen": [text]}}, b={})))
        first = await listen(dispatcher, text, "listen", is_own=True)
        first.close()
        host, _, port = first.url.removeprefix("http://").rpartition(":")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host.strip("[]"), int(port))
        again = await listen(dispatcher, text, "listen", is_own=True, at=bound_address(first, text))
        assert again.url == first.url
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(ASK)
        assert replies(await reader.read())[0].body == b"a"
        writer.close()
        again.close()

    asyncio.run(play())


def test_a_unix_socket_is_where_its_text_says(tmp_path: Path) -> None:
    async def play() -> None:
        text = f"unix:{tmp_path}/a"
        listener = await listen(a_dispatcher(), text, "listen")
        assert (listener.url, bound_address(listener, text)) == (text, text)
        listener.close()

    asyncio.run(play())


def test_a_place_that_is_taken_meanwhile_is_said() -> None:
    async def play() -> None:
        dispatcher = a_dispatcher()
        first = await listen(dispatcher, "127.0.0.1:0", "listen")
        with pytest.raises(ConfigError, match="an address that is free here"):
            await listen(
                dispatcher, "127.0.0.1:0", "listen", at=bound_address(first, "127.0.0.1:0")
            )
        first.close()

    asyncio.run(play())
