"""SIGTERM ends a server that waits for a disk that hangs."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from openimds.errors import Error
from openimds.server import host_process
from openimds.server.host_process import HostProcess
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.process import Service, serve
from openimds.server.ready import Ready
from openimds.settings import Settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM")


class HangingServer:
    """A server whose start never ends."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    async def start(self) -> Ready:
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            self.ends.append("start")
        raise AssertionError("unreachable: nobody sets the event")

    async def reload(self) -> None:
        raise AssertionError("not called")

    async def stop(self) -> None:
        self.ends.append("stop")


class FailingServer(HangingServer):
    """A server that cannot start."""

    async def start(self) -> Ready:
        raise Error("no disk")


def run(server: Service) -> list[Ready]:
    ready: list[Ready] = []
    asyncio.run(serve(lambda: server, ready.append, lambda _: None, 1))
    return ready


def test_sigterm_ends_a_start_that_hangs() -> None:
    server = HangingServer()
    assert run(server) == []
    assert server.ends == ["start", "stop"]


def test_error_of_a_start_is_the_servers() -> None:
    server = FailingServer()
    with pytest.raises(Error, match="no disk"):
        run(server)
    assert server.ends == ["stop"]


def test_sigterm_ends_a_control_process_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    # It opens the pipe, which this process awaits, and reads nothing of its channel.
    opening = f"open({str(begun)!r}, 'w').close()"
    child = f"{opening}; import signal; signal.pause()  # {{path}} {{descriptor}}"
    monkeypatch.setattr(host_process, "_CHILD", child)
    settings = Settings(listen="127.0.0.1:0", admin="none", public="none")

    def make() -> HostProcess:
        def end() -> None:
            with begun.open("rb"):
                os.kill(os.getpid(), signal.SIGTERM)

        asyncio.get_running_loop().run_in_executor(None, end)
        return HostProcess(settings, lambda _: None, InheritedSockets())

    ready: list[Ready] = []
    asyncio.run(serve(make, ready.append, lambda _: None, 1))
    assert ready == []
