"""SIGTERM ends a server that waits for a disk that hangs."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openimds.errors import Error
from openimds.log.event import Level, LogMessage
from openimds.log.events import FAILED, READY, STARTING, STOPPED, STOPPING
from openimds.server import host_process, process
from openimds.server.host_process import HostProcess
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.operator_log import starting
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

    async def failed(self) -> None:
        await asyncio.Event().wait()

    async def reload(self) -> None:
        raise AssertionError("not called")

    async def stop(self) -> None:
        self.ends.append("stop")


class FailingServer(HangingServer):
    """A server that cannot start."""

    async def start(self) -> Ready:
        raise Error("no disk")


class AskingServer(FailingServer):
    """A server that notes how long its loop waits for a thread that computes."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float] = []

    async def start(self) -> Ready:
        self.waits_s.append(sys.getswitchinterval())
        return await super().start()


@pytest.fixture
def own_process() -> Iterator[None]:
    """Give back what a server sets for the whole of its process."""
    umask, switch_s = os.umask(0o077), sys.getswitchinterval()
    yield
    os.umask(umask)
    sys.setswitchinterval(switch_s)


def is_heavy(message: str) -> bool:
    """Tell whether a message is not one of the usual run of a server."""
    return not isinstance(message, LogMessage) or message.level > Level.NOTICE


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


@pytest.mark.usefixtures("own_process")
def test_guests_wait_shortly_for_a_thread_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    server = AskingServer()
    monkeypatch.setattr(host_process, "HostProcess", lambda *_: server)
    sys.setswitchinterval(0.005)
    with pytest.raises(Error, match="no disk"):
        process.run_host(Settings(), print, lambda _: None)
    (waits_s,) = server.waits_s
    assert waits_s < 0.001


@pytest.mark.parametrize(
    "error, message",
    [
        (Error("no descriptor is free"), "the reload failed: no descriptor is free"),
        (KeyError("x"), "internal error in a reload: KeyError in {place}. Please report it"),
    ],
    ids=["error", "internal"],
)
@pytest.mark.skipif(os.isatty(0), reason="on a terminal SIGHUP means that it was closed")
def test_failed_reload_is_reported_and_the_server_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    messages: list[str] = []

    class Reloaded(HangingServer):
        async def start(self) -> Ready:
            return Ready("http://127.0.0.1:80", None, None)

        async def reload(self) -> None:
            raise error

    def note(text: str) -> None:
        messages.append(text)
        if is_heavy(text):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("gc.freeze", lambda: None)
    server = Reloaded()
    asyncio.run(serve(lambda: server, lambda _: os.kill(os.getpid(), signal.SIGHUP), note, 0))
    line = Reloaded.reload.__code__.co_firstlineno + 1
    message = message.format(place=f"{__name__}, line {line}")
    assert [text for text in messages if is_heavy(text)] == [message]
    assert server.ends == ["stop"]


class ShortServer(HangingServer):
    """A server that starts at once, and may fail then."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self._error = error

    async def start(self) -> Ready:
        return Ready("http://127.0.0.1:80", "http://127.0.0.1:81", None)

    async def failed(self) -> None:
        if self._error:
            raise self._error
        await super().failed()


def logged(server: Service, monkeypatch: pytest.MonkeyPatch) -> list[LogMessage]:
    """Run a server that SIGTERM ends once it is ready; return its log."""
    messages: list[LogMessage] = []

    def note(message: str) -> None:
        assert isinstance(message, LogMessage)
        messages.append(message)

    monkeypatch.setattr("gc.freeze", lambda: None)
    start = starting("serve", Settings(state="/s", event_hook="https://u:p@hook/?sig=s3cret"))
    ready = serve(
        lambda: server, lambda _: os.kill(os.getpid(), signal.SIGTERM), note, 0, start=start
    )
    asyncio.run(ready)
    return messages


def test_start_and_stop_are_logged_with_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ready, stopping, stopped = logged(ShortServer(), monkeypatch)
    assert begun.event is STARTING
    assert begun.fields["settings"] == ("state=/s", "event_hook=***")
    assert (ready.event, ready.fields["admin"]) == (READY, "http://127.0.0.1:81")
    assert (stopping.event, stopping.fields["reason"]) == (STOPPING, "SIGTERM")
    assert stopped.event is STOPPED


def test_failure_of_a_running_server_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("gc.freeze", lambda: None)
    server = ShortServer(Error("another control leads"))
    with pytest.raises(Error, match="another"):
        asyncio.run(serve(lambda: server, lambda _: None, messages.append, 0))
    assert messages[1:] == ["another control leads", "stopping: a failure", "stopped"]


def test_start_that_fails_at_once_logs_nothing() -> None:
    messages: list[str] = []
    start = starting("serve", Settings())
    with pytest.raises(Error, match="no disk"):
        asyncio.run(serve(FailingServer, lambda _: None, messages.append, 1, start=start))
    assert messages == []


def test_start_that_takes_long_is_logged_with_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openimds.server.process._SLOW_S", 0.0)

    class Slow(HangingServer):
        async def start(self) -> Ready:
            await begun.wait()
            raise Error("no disk")

    def note(message: str) -> None:
        messages.append(message)
        begun.set()

    messages: list[str] = []
    begun = asyncio.Event()
    start = starting("serve", Settings())
    with pytest.raises(Error, match="no disk"):
        asyncio.run(serve(Slow, lambda _: None, note, 1, start=start))
    assert messages == [start, "no disk", "stopping: a failure", "stopped"]
    assert isinstance(messages[1], LogMessage)
    assert messages[1].event == FAILED


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
