import errno
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
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Pass a listening socket as the first one of systemd."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "a.sock"))
    listener.listen()
    descriptor = listener.detach()
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - it takes no name
    monkeypatch.setattr(systemd, "_FIRST", descriptor)
    yield descriptor
    # A test that took the socket has closed it.
    try:
        os.close(descriptor)
    except OSError:
        return


def environment(count: str = "1", names: str = "imds", pid: int = PID) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": count, "LISTEN_FDNAMES": names}


def test_passed_socket_has_its_name_and_is_not_inherited(passed: int, tmp_path: Path) -> None:
    ((name, listener),) = sockets(environment(), PID)
    assert name == "imds"
    assert listener.getsockname() == str(tmp_path / "a.sock")
    assert not os.get_inheritable(passed)
    listener.close()


def test_passed_socket_may_have_no_name(passed: int) -> None:
    unnamed = environment()
    del unnamed["LISTEN_FDNAMES"]
    ((name, listener),) = sockets(unnamed, PID)
    assert name == ""
    listener.close()


@pytest.mark.parametrize("variables", [{}, environment(pid=PID + 1), environment("0", "")])
def test_sockets_for_another_process_are_ignored(variables: dict[str, str]) -> None:
    assert sockets(variables, PID) == []


def test_count_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        sockets(environment("many"), PID)
    assert str(caught.value) == 'LISTEN_FDS: saw "many", expected the number of sockets'


def test_missing_descriptor_is_refused(passed: int) -> None:
    os.close(passed)
    with pytest.raises(ConfigError) as caught:
        sockets(environment(), PID)
    assert str(caught.value) == (
        f"LISTEN_FDS: descriptor {passed} (imds): saw bad file descriptor, expected a socket"
    )


def test_socket_that_does_not_listen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        monkeypatch.setattr(systemd, "_FIRST", datagrams.fileno())
        with pytest.raises(ConfigError) as caught:
            sockets(environment(names=""), PID)
        assert str(caught.value) == (
            f"LISTEN_FDS: descriptor {datagrams.fileno()}: saw a socket that does not listen, "
            "expected a listening socket. Write ListenStream= in its unit, and leave out Accept=yes"
        )


def test_socket_names_select_their_listener() -> None:
    names = ("imds", "vm.web-1", "admin", "", "public", "vm.vm.x")
    by_unit = {name: socket.socket(socket.AF_UNIX) for name in names}
    inherited = by_name([*by_unit.items()])
    assert inherited.dataplane == (
        (by_unit["imds"], ""),
        (by_unit["vm.web-1"], "web-1"),
        (by_unit[""], ""),
        (by_unit["vm.vm.x"], "vm.x"),
    )
    assert inherited.admin == (by_unit["admin"],)
    assert inherited.public == (by_unit["public"],)
    for item in by_unit.values():
        item.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        receiver.bind("\0" + name if request.param == "abstract" else name)
        yield ("@" + name if request.param == "abstract" else name), receiver


def test_notifications_have_the_documented_form(manager: tuple[str, socket.socket]) -> None:
    address, receiver = manager
    notifier = SystemdNotifier({"NOTIFY_SOCKET": address}, PID)
    notifier.ready("Answers at http://127.0.0.1:80")
    assert receiver.recv(1000) == b"READY=1\nSTATUS=Answers at http://127.0.0.1:80"
    notifier.ready()
    assert receiver.recv(1000) == b"READY=1"
    notifier.reloading()
    state, moment = receiver.recv(1000).split(b"\n")
    assert state == b"RELOADING=1"
    assert moment.startswith(b"MONOTONIC_USEC=")
    assert moment[15:].isdigit()
    notifier.alive()
    assert receiver.recv(1000) == b"WATCHDOG=1"
    notifier.stopping()
    assert receiver.recv(1000) == b"STOPPING=1"


@pytest.mark.parametrize("variables", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_missing_notification_socket_is_ignored(variables: dict[str, str]) -> None:
    notifier = SystemdNotifier(variables)
    notifier.ready()
    notifier.stopping()


def test_watchdog_is_notified_without_a_free_descriptor(
    manager: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, receiver = manager
    notifier = SystemdNotifier({"NOTIFY_SOCKET": address}, PID)
    notifier.ready()

    def no_socket(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.socket", no_socket)
    notifier.alive()
    monkeypatch.undo()
    assert receiver.recv(1000) == b"READY=1"
    assert receiver.recv(1000) == b"WATCHDOG=1"
    notifier.stopping()


@pytest.mark.parametrize(
    "variables, watched_s",
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_watchdog_period_is_read_for_this_process(
    variables: dict[str, str], watched_s: float
) -> None:
    assert SystemdNotifier(variables, PID).watched_s == watched_s


def test_manager_that_reads_nothing_does_not_stop_the_server(
    manager: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_PATIENCE_S", 0.01)
    address, receiver = manager
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    notifier = SystemdNotifier({"NOTIFY_SOCKET": address}, PID)
    for _ in range(2000):  # More than the queue of any Linux here holds.
        notifier.alive()
    notifier.stopping()
    assert receiver.recv(1000) == b"WATCHDOG=1"
