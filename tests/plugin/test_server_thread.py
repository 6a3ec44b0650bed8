"""The shared port and thread, and the servers on them."""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from msgspec import structs

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import fleet_contents
from openimds.server.startup import Startup, load
from openimds.settings import Settings
from openimds.testing.server_thread import (
    ReservedPort,
    RunningServer,
    ServerClosedError,
    ServerThread,
)
from openimds.vm.types import Vm

BOTH_AT_ONE = {"reach": {"address": ["127.0.0.1"]}}


@pytest.fixture
def port() -> Iterator[ReservedPort]:
    reserved = ReservedPort()
    yield reserved
    reserved.close()


@pytest.fixture
def server_thread(port: ReservedPort) -> Iterator[ServerThread]:
    thread = ServerThread(port)
    yield thread
    thread.close()
    assert "imds" not in [one.name for one in threading.enumerate()]


@contextmanager
def serving(thread: ServerThread, startup: Startup) -> Iterator[RunningServer]:
    """Run a server until the block ends."""
    running = RunningServer(thread, startup, print)
    try:
        yield running
    finally:
        running.close()


def startup(**vms: object) -> Startup:
    default = load(Settings(admin="none", public="none"))
    return structs.replace(default, vms=fleet_contents({"vms": vms}).vms) if vms else default


def connect(port: ReservedPort) -> int:
    host, number = port.address.split(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(number)))


def name_at(server_thread: ServerThread) -> str:
    target = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    return httpx2.get(server_thread.port.url + target, headers={"Metadata": "true"}).text


def test_reserved_port_refuses_and_cannot_be_taken(port: ReservedPort) -> None:
    assert connect(port) == errno.ECONNREFUSED
    host, number = port.address.split(":")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, int(number)))


def test_one_server_after_another_answers_at_the_port(server_thread: ServerThread) -> None:
    for name in ("web-1", "web-2"):
        with serving(server_thread, startup(**{name: {}})) as running:
            assert running.ready.imds == server_thread.port.url
            assert name_at(server_thread) == name
            counts = running.server.dispatcher.counts.values()
            assert sum(count.requests for count in counts) == 1
        assert connect(server_thread.port) == errno.ECONNREFUSED


def test_server_that_fails_to_start_leaves_nothing(server_thread: ServerThread) -> None:
    wrong = startup(a=BOTH_AT_ONE, b=BOTH_AT_ONE)
    with pytest.raises(ConfigError, match="one VM to each"):
        RunningServer(server_thread, wrong, print)
    assert connect(server_thread.port) == errno.ECONNREFUSED
    with serving(server_thread, startup()):
        assert name_at(server_thread) == "vm-1"


def test_exception_of_a_job_is_raised_by_the_caller(server_thread: ServerThread) -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        server_thread.do(fail())


def test_patched_time_does_not_stop_the_loop(
    server_thread: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def now_s() -> float:
        return asyncio.get_running_loop().time()

    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    assert 0 < server_thread.do(now_s()) < server_thread.do(now_s())


def test_url_omits_the_port_of_http() -> None:
    named = ReservedPort.__new__(ReservedPort)
    named._name = ("169.254.169.254", 80)
    assert named.url == "http://169.254.169.254"
    assert named.address == "169.254.169.254:80"


def test_port_that_is_not_held_keeps_its_number() -> None:
    port = ReservedPort(is_held=False)
    thread = ServerThread(port)
    try:
        for name in ("web-1", "web-2"):
            with serving(thread, startup(**{name: {}})) as running:
                assert running.ready.imds == port.url
                assert name_at(thread) == name
            assert connect(port) == errno.ECONNREFUSED
    finally:
        thread.close()


def test_restart_serves_anew_with_the_same_settings(server_thread: ServerThread) -> None:
    with serving(server_thread, startup(**{"web-1": {}})) as running:
        before = running.server
        server_thread.do(running.server.fleet_service.put(Vm("web-2"), "test"))
        running.restart()
        assert running.server is not before
        assert [*running.server.dispatcher.fleet_index.by_name] == ["web-1"]
        assert name_at(server_thread) == "web-1"


def test_closed_server_refuses_jobs_and_a_restart(server_thread: ServerThread) -> None:
    async def job() -> None: ...

    with serving(server_thread, startup()) as running:
        pass
    running.close()
    with pytest.raises(ServerClosedError, match="the server is closed"):
        running.do(job())
    with pytest.raises(ServerClosedError, match="the server is closed"):
        running.restart()
    with pytest.raises(ServerClosedError, match="the server is closed"):
        asyncio.run(running.awaited(job()))


def test_error_of_a_job_has_no_frames_of_the_threads(server_thread: ServerThread) -> None:
    async def fail() -> None:
        raise ConfigError("a", "b", "c")

    with pytest.raises(ConfigError) as caught:
        server_thread.do(fail())
    names = [frame.name for frame in caught.traceback]
    assert names == ["test_error_of_a_job_has_no_frames_of_the_threads", "do"]


def test_threads_at_the_same_time_have_other_keys(server_thread: ServerThread) -> None:
    port = ReservedPort()
    other = ServerThread(port)
    keys = {server_thread._pool.supply()(), other._pool.supply()()}
    assert len(keys) == 2
    other.close()
    third = ServerThread(port)
    assert third._pool.supply()() in keys
    third.close()
    port.close()
