"""Filters of listening sockets drop handshakes by source address, as an ordinary user."""

import errno
import os
import select
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from openimds.linux import source_filter, syscalls
from openimds.linux.loopback import raise_loopback
from openimds.linux.platform import IS_LINUX
from openimds.linux.source_filter import MOST_SOURCES, attach, check, detach
from tests.support.filters import filters

_SWALLOWED_S = 0.2
"""A handshake on loopback takes microseconds; a swallowed one never ends."""
_ANSWERED_S = 10
"""The longest wait for a handshake on a busy machine."""


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def connects(source: str, listening: socket.socket) -> bool:
    """Tell whether a connection from a source address is answered."""
    return _is_answered(source, listening, _ANSWERED_S)


def swallows(listening: socket.socket, source: str) -> bool:
    """Tell whether a connection from a source address is not answered."""
    return not _is_answered(source, listening, _SWALLOWED_S)


def _is_answered(source: str, listening: socket.socket, within_s: float) -> bool:
    with socket.socket(listening.family) as caller:
        caller.bind((source, 0))
        caller.settimeout(0)
        assert caller.connect_ex(listening.getsockname()[:2]) == errno.EINPROGRESS
        _, answered, _ = select.select([], [caller], [], within_s)
        return bool(answered)


@contextmanager
def listens(host: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        yield listening


def fleet(most: int) -> list[str]:
    """Return addresses of loopback, the last one of which is 127.0.1.1."""
    return [f"127.0.2.{number}" for number in range(1, most)] + ["127.0.1.1"]


@filters
def test_named_sources_are_swallowed_and_others_connect() -> None:
    with listens("127.0.0.1") as listening:
        attach(listening, ["127.0.0.51", "127.0.0.53", "2001:db8::1"])
        assert swallows(listening, "127.0.0.51")
        assert connects("127.0.0.52", listening)
        assert swallows(listening, "127.0.0.53")
        assert connects("127.0.0.54", listening)


@filters
def test_filter_of_all_sources_swallows_every_connection() -> None:
    with listens("127.0.0.1") as listening:
        attach(listening, None)
        assert swallows(listening, "127.0.0.51")
        detach(listening)
        assert connects("127.0.0.51", listening)
        detach(listening)  # There is none any longer.


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up the privileges of root, if this process has them."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not IS_LINUX, reason="only Linux has filters of sockets")
def test_ordinary_user_has_filters_where_the_kernel_lets_him() -> None:
    with ordinary_user(), listens("127.0.0.1") as listening:
        assert os.geteuid()
        try:
            check(listening)
        except OSError as error:
            # Kernels such as 6.18.44 want NET_ADMIN.
            assert error.errno == errno.EPERM  # noqa: PT017 - one of two outcomes
        else:
            attach(listening, ["127.0.0.51"])
            assert swallows(listening, "127.0.0.51")
        assert connects("127.0.0.52", listening)


def in_a_network_of_his_own(work: Callable[[], bool]) -> str:
    """Work as an ordinary user in a new network, and return the result."""
    with warnings.catch_warnings():
        # The child touches no lock of another thread: it only uses sockets, and exits.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        code = 3
        try:
            if not os.geteuid():
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            syscalls.unshare(syscalls.NEW_USER | syscalls.NEW_NET)
            raise_loopback()
            code = 2
            code = 0 if work() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    results = ("works", "fails", "raises", "no user namespaces")
    return results[os.waitstatus_to_exitcode(status)]


@pytest.mark.skipif(not IS_LINUX, reason="only Linux has filters of sockets")
def test_ordinary_user_swallows_in_a_network_of_his_own() -> None:
    def is_filtered() -> bool:
        with listens("127.0.0.1") as listening:
            attach(listening, ["127.0.0.51"])
            return swallows(listening, "127.0.0.51") and connects("127.0.0.52", listening)

    result = in_a_network_of_his_own(is_filtered)
    if result == "no user namespaces":
        pytest.skip(result)
    assert result == "works"


@filters
def test_filter_replaces_the_earlier_one() -> None:
    with listens("127.0.0.1") as listening:
        attach(listening, ["127.0.0.51"])
        attach(listening, ["127.0.0.52"])
        assert connects("127.0.0.51", listening)
        assert swallows(listening, "127.0.0.52")


@filters
def test_largest_filter_swallows_its_last_source() -> None:
    with listens("127.0.0.1") as listening:
        attach(listening, fleet(MOST_SOURCES))
        assert swallows(listening, "127.0.1.1")
        assert swallows(listening, "127.0.2.1")
        assert connects("127.0.3.1", listening)


@filters
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 on loopback")
def test_ipv6_source_is_swallowed_by_all_of_its_words() -> None:
    with listens("::1") as listening:
        others = [f"2001:db8::{number:x}" for number in range(1, MOST_SOURCES)]
        attach(listening, [*others, "127.0.0.51"])
        assert connects("::1", listening)
        attach(listening, [*others, "::1%lo"])
        assert swallows(listening, "::1")


@filters
def test_accepted_connection_goes_on_under_a_filter() -> None:
    with listens("127.0.0.1") as listening, socket.socket() as caller:
        caller.bind(("127.0.0.51", 0))
        caller.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            attach(listening, ["127.0.0.51"])
            caller.sendall(b"still here")
            assert accepted.recv(99) == b"still here"


@filters
def test_larger_filter_is_refused() -> None:
    with listens("127.0.0.1") as listening, pytest.raises(AssertionError):
        attach(listening, [*fleet(MOST_SOURCES), "127.0.3.1"])


@filters
def test_check_leaves_no_filter() -> None:
    with listens("127.0.0.1") as listening:
        check(listening)
        assert connects("127.0.0.51", listening)


def test_system_without_filters_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_filter, "IS_LINUX", False)
    with socket.socket() as bound, pytest.raises(OSError, match="no filters of sockets"):
        check(bound)


@filters
def test_kernel_without_filters_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_filter, "_ATTACH_FILTER", 9999)
    with socket.socket() as bound, pytest.raises(OSError, match="not available"):
        check(bound)
