"""The child process of a host: its watch and its end."""

import asyncio
import socket
import sys
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from collections.abc import Awaitable, Callable
from unittest.mock import patch

import pytest

from openimds.errors import ConfigError
from openimds.server.host_process import ControlChild, _temporary_folder
from openimds.server.seam.channel import Channel, open_channel
from openimds.server.seam.messages import FromControl, FromHost, SeamMessage


async def _nothing(_: SeamMessage) -> None:
    return None


def with_child(
    work: Callable[[ControlChild, socket.socket], Awaitable[None]],
) -> None:
    """Do work with a process that waits, and the other end of its channel."""

    async def whole() -> None:
        ours, theirs = socket.socketpair()
        process = await create_subprocess_exec(
            sys.executable, "-c", "import signal; signal.pause()", stdin=DEVNULL, pass_fds=()
        )
        channel = await open_channel(ours, FromControl, _nothing)
        child = ControlChild(process, channel, asyncio.create_task(channel.run()))
        try:
            with theirs:
                # The channel ends with its process, as it does with control's.
                ending = asyncio.create_task(process.wait())
                ending.add_done_callback(lambda _: channel.close())
                await work(child, theirs)
        finally:
            child.kill()
            await child.wait()

    asyncio.run(whole())


def test_process_that_answers_nothing_is_killed() -> None:
    async def work(child: ControlChild, _: socket.socket) -> None:
        assert await child.watch(look_s=0.01)
        assert await child.wait() == -9

    with_child(work)


def test_server_without_any_writable_folder_names_the_settings() -> None:
    with (
        patch("tempfile.gettempdir", side_effect=FileNotFoundError(2, "No usable folder")),
        pytest.raises(ConfigError, match=r"--state or TMPDIR, or type --processes 1"),
    ):
        _temporary_folder()


def test_process_that_answers_is_watched_until_it_ends() -> None:
    answered: list[SeamMessage] = []
    ends: list[Channel] = []

    async def answer(message: SeamMessage) -> None:
        answered.append(message)
        if len(answered) == 20:
            ends[0].close()

    async def work(child: ControlChild, theirs: socket.socket) -> None:
        ends.append(await open_channel(theirs.dup(), FromHost, answer))
        reading = asyncio.create_task(ends[0].run())
        theirs.close()
        assert not await child.watch(look_s=0.01)
        await reading
        child.kill()

    with_child(work)
    assert len(answered) == 20
