"""The child process of a host: its watch and its end."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from openimds.errors import ConfigError
from openimds.server import host_process
from openimds.server.host_process import ControlChild, HostProcess, _temporary_folder
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.seam.channel import Channel, ChannelClosedError, open_channel
from openimds.server.seam.messages import Began, End, FromControl, FromHost, SeamMessage
from openimds.settings import Settings


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
        assert await child.watch(0.01)
        assert await child.wait() == -9

    with_child(work)


def test_process_that_hangs_in_its_work_is_killed() -> None:
    async def work(child: ControlChild, _: socket.socket) -> None:
        beginning = asyncio.create_task(child.channel.call(End()))
        assert await child.watch(0.01, beginning)
        with pytest.raises(ChannelClosedError):
            await beginning

    with_child(work)


def test_watch_of_work_ends_with_it() -> None:
    async def begin() -> Began:
        return Began(is_entra_reported=False)

    async def work(child: ControlChild, _: socket.socket) -> None:
        done = asyncio.create_task(begin())
        assert not await child.watch(60, done)
        assert child.process.returncode is None

    with_child(work)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal.pause")
def test_control_that_hangs_at_a_restart_is_killed_and_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet.json").write_text('{"vms": {"a": {}}}')
    settings = Settings(
        listen="127.0.0.1:0",
        admin="none",
        public="none",
        fleet=str(tmp_path / "fleet.json"),
        state=str(tmp_path / "state"),
    )
    messages: list[str] = []

    async def restart() -> None:
        runs = asyncio.Event()

        def note(text: str) -> None:
            messages.append(text)
            if text.startswith("control cannot start"):
                server._look_s = 10
                patch.undo()
            elif text == "control runs again":
                runs.set()

        server = HostProcess(settings, note, InheritedSockets())
        try:
            await server.start()
            with monkeypatch.context() as patch:
                patch.setattr(host_process, "_CHILD", "import signal; signal.pause()")
                assert server._child
                server._look_s = 0.01
                server._child.kill()
                async with asyncio.timeout(30):
                    await runs.wait()
            assert sorted(server.host.fleet_index.by_name) == ["a"]
        finally:
            await server.stop(patience_s=0)

    asyncio.run(restart())
    # On a loaded machine the control before may have been late, too.
    failures = [text for text in messages if text.startswith("control cannot start")]
    at = messages.index(failures[0])
    killed, failed = messages[at - 1 : at + 1]
    assert killed == "control has given no sign of life for 0.06 s, and is killed"
    assert failed == (
        "control cannot start: control has ended before it was ready (exit status -9); it is "
        "tried again in 0.4 s"
    )


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
        assert not await child.watch(0.01)
        await reading
        child.kill()

    with_child(work)
    assert len(answered) == 20
