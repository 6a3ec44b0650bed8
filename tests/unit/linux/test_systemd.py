import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from openimds.cli.serve import by_name
from openimds.errors import ConfigError
from openimds.linux import systemd
from openimds.linux.systemd import SystemdNotifier, sockets

PID = 42


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A listening socket, as the first one that is handed in."""
    mine = socket.socket(socket.AF_UNIX)
    mine.bind(str(tmp_path / "a.sock"))
    mine.listen()
    descriptor = mine.detach()
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no name
    monkeypatch.setattr(systemd, "_FIRST", descriptor)
    yield descriptor
    # Closed by whoever took it, where anybody did.
    try:
        os.close(descriptor)
    except OSError:
        return


def environment(count: str = "1", names: str = "imds", pid: int = PID) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": count, "LISTEN_FDNAMES": names}


def test_a_socket_comes_with_its_name_and_goes_to_no_child(handed: int, tmp_path: Path) -> None:
    ((name, found),) = sockets(environment(), PID)
    assert name == "imds"
    assert found.getsockname() == str(tmp_path / "a.sock")
    assert not os.get_inheritable(handed)
    found.close()


def test_a_socket_may_have_no_name(handed: int) -> None:
    said = environment()
    del said["LISTEN_FDNAMES"]
    ((name, found),) = sockets(said, PID)
    assert name == ""
    found.close()


@pytest.mark.parametrize("said", [{}, environment(pid=PID + 1), environment("0", "")])
def test_what_is_meant_for_others_or_nobody_is_left_alone(said: dict[str, str]) -> None:
    assert sockets(said, PID) == []


def test_a_count_that_is_none() -> None:
    with pytest.raises(ConfigError) as caught:
        sockets(environment("many"), PID)
    assert str(caught.value) == 'LISTEN_FDS: saw "many", expected the number of sockets'


def test_a_descriptor_that_is_not_there(handed: int) -> None:
    os.close(handed)
    with pytest.raises(ConfigError) as caught:
        sockets(environment(), PID)
    assert str(caught.value) == (
        f"LISTEN_FDS: descriptor {handed} (imds): saw bad file descriptor, expected a socket"
    )


def test_a_socket_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine:
        monkeypatch.setattr(systemd, "_FIRST", mine.fileno())
        with pytest.raises(ConfigError) as caught:
            sockets(environment(names=""), PID)
        assert str(caught.value) == (
            f"LISTEN_FDS: descriptor {mine.fileno()}: saw a socket that does not listen, expected "
            "a listening one. Write ListenStream= in its unit, and not Accept=yes"
        )


def test_names_say_what_a_socket_is_for() -> None:
    names = ("imds", "vm.web-1", "admin", "", "public", "vm.vm.x")
    made = {name: socket.socket(socket.AF_UNIX) for name in names}
    found = by_name([*made.items()])
    assert found.dataplane == (
        (made["imds"], ""),
        (made["vm.web-1"], "web-1"),
        (made[""], ""),
        (made["vm.vm.x"], "vm.x"),
    )
    assert found.admin == (made["admin"],)
    assert found.public == (made["public"],)
    for one in made.values():
        one.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.settimeout(5)
        hears.bind("\0" + name if request.param == "abstract" else name)
        yield ("@" + name if request.param == "abstract" else name), hears


def test_systemd_is_told(manager: tuple[str, socket.socket]) -> None:
    address, hears = manager
    notices = SystemdNotifier({"NOTIFY_SOCKET": address}, PID)
    notices.ready("Answers at http://127.0.0.1:80")
    assert hears.recv(1000) == b"READY=1\nSTATUS=Answers at http://127.0.0.1:80"
    notices.ready()
    assert hears.recv(1000) == b"READY=1"
    notices.reloading()
    word, moment = hears.recv(1000).split(b"\n")
    assert word == b"RELOADING=1"
    assert moment.startswith(b"MONOTONIC_USEC=")
    assert moment[15:].isdigit()
    notices.alive()
    assert hears.recv(1000) == b"WATCHDOG=1"
    notices.stopping()
    assert hears.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("said", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_nobody_need_hear_it(said: dict[str, str]) -> None:
    SystemdNotifier(said).ready()


@pytest.mark.parametrize(
    "said, watched_s",
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_signs_of_life_are_given_where_they_are_waited_for(
    said: dict[str, str], watched_s: float
) -> None:
    assert SystemdNotifier(said, PID).watched_s == watched_s
