"""What the tests of a session share, and what they do not."""

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest
from msgspec import structs

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import fleet_contents
from openimds.server.startup import Startup, load
from openimds.settings import Settings
from openimds.testing.server_thread import ReservedPort, ServerThread

BOTH_AT_ONE = {"reach": {"address": ["127.0.0.1"]}}


@pytest.fixture
def port() -> Iterator[ReservedPort]:
    made = ReservedPort()
    yield made
    made.close()


@pytest.fixture
def stage(port: ReservedPort) -> Iterator[ServerThread]:
    made = ServerThread(port)
    yield made
    made.close()
    assert "imds" not in [one.name for one in threading.enumerate()]


def startup(**vms: object) -> Startup:
    default = load(Settings(admin="none", public="none"))
    return structs.replace(default, vms=fleet_contents({"vms": vms}).vms) if vms else default


def connect(port: ReservedPort) -> int:
    host, number = port.address.split(":")
    with socket.socket() as one:
        return one.connect_ex((host, int(number)))


def who(stage: ServerThread) -> str:
    path = f"{stage.port.url}/metadata/instance/compute/name?api-version=2021-02-01&format=text"
    return httpx2.get(path, headers={"Metadata": "true"}).text


def test_a_port_refuses_and_is_given_to_nobody_else(port: ReservedPort) -> None:
    assert connect(port) == errno.ECONNREFUSED
    host, number = port.address.split(":")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((host, int(number)))


def test_one_server_after_another_answers_at_it(stage: ServerThread) -> None:
    for name in ("web-1", "web-2"):
        with stage.serving(startup(**{name: {}}), print) as (server, ready):
            assert ready.imds == stage.port.url
            assert who(stage) == name
            assert sum(count.requests for count in server.dispatcher.counts.values()) == 1
        assert connect(stage.port) == errno.ECONNREFUSED


def test_a_server_that_cannot_be_leaves_nothing_behind(stage: ServerThread) -> None:
    wrong = startup(a=BOTH_AT_ONE, b=BOTH_AT_ONE)
    with pytest.raises(ConfigError, match="one VM to each"), stage.serving(wrong, print):
        pass
    assert connect(stage.port) == errno.ECONNREFUSED
    with stage.serving(startup(), print):
        assert who(stage) == "vm-1"


def test_what_a_job_raises_comes_to_who_asked(stage: ServerThread) -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        stage.do(fail())


def test_the_time_of_python_may_be_stopped(
    stage: ServerThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def now_s() -> float:
        return asyncio.get_running_loop().time()

    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    assert 0 < stage.do(now_s()) < stage.do(now_s())


def test_the_port_of_http_is_not_said() -> None:
    named = ReservedPort.__new__(ReservedPort)
    named._name = ("169.254.169.254", 80)
    assert named.url == "http://169.254.169.254"
    assert named.address == "169.254.169.254:80"
