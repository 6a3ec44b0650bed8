"""Sockets behind the host rules: bound, recognised and served."""

import errno
import socket
from typing import cast
from unittest.mock import Mock

import pytest

from openimds.dataplane import listeners
from openimds.dataplane.listeners import cannot_answer, is_guarded, listen_on
from openimds.dataplane.reactor import Reactor
from openimds.dataplane.saved_syn import sender_of
from openimds.linux.platform import IS_LINUX
from tests.support.talk import a_dispatcher

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="host rules are of Linux")
SERVICE = "169.254.169.254"
FOREIGN = "192.0.2.77"
"""An address for documentation, which no interface has (RFC 5737)."""


def a_socket(
    host: str, *, family: int = socket.AF_INET, is_transparent: bool = False, cookie: bytes = b""
) -> socket.socket:
    """Return the double of a socket that is bound to an address."""

    def option(_: int, name: int, size: int = 0) -> int | bytes:
        return cookie if size else int(is_transparent)

    double = Mock(family=family)
    double.getsockname.return_value = (host, 80)
    double.getsockopt.side_effect = option
    return cast("socket.socket", double)


def own_cookie() -> bytes:
    with socket.socket() as probe:
        return listeners._namespace(probe)


def test_service_address_on_no_interface_is_bound_transparently() -> None:
    double = Mock(family=socket.AF_INET)
    double.bind.side_effect = [OSError(errno.EADDRNOTAVAIL, "none"), None]
    listeners._bind(double, (SERVICE, 80))
    assert double.bind.call_count == 2
    double.setsockopt.assert_called_once_with(socket.IPPROTO_IP, listeners._TRANSPARENT, 1)


@pytest.mark.parametrize("host, number", [(FOREIGN, errno.EADDRNOTAVAIL), (SERVICE, errno.EACCES)])
def test_other_failure_to_bind_is_raised(host: str, number: int) -> None:
    double = Mock(family=socket.AF_INET)
    double.bind.side_effect = OSError(number, "no")
    with pytest.raises(OSError, match="no"):
        listeners._bind(double, (host, 80))
    double.setsockopt.assert_not_called()


@pytest.mark.parametrize(
    "bound, expected",
    [
        (a_socket(SERVICE, is_transparent=True), True),
        (a_socket(SERVICE), False),
        (a_socket("127.0.0.1", is_transparent=True), False),
        (a_socket("fe80::a9fe:a9fe%eth0", family=socket.AF_INET6), True),
        (a_socket("/run/x.sock", family=socket.AF_UNIX), False),
    ],
)
def test_guarded_socket_is_a_transparent_one_of_the_service(
    bound: socket.socket, *, expected: bool
) -> None:
    assert is_guarded(bound) is expected


def test_socket_of_an_address_on_no_interface_cannot_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listeners, "REAL_ADDRESSES", frozenset((FOREIGN, "127.0.0.9")))
    ours = own_cookie()
    assert cannot_answer(a_socket(FOREIGN, cookie=ours))
    assert not cannot_answer(a_socket("127.0.0.9", cookie=ours))
    assert not cannot_answer(a_socket(FOREIGN, cookie=b"another!"))
    assert not cannot_answer(a_socket(FOREIGN, is_transparent=True, cookie=ours))
    assert not cannot_answer(a_socket("127.0.0.1", cookie=ours))
    assert not cannot_answer(a_socket("::1", family=socket.AF_INET6, cookie=ours))


def test_listener_behind_the_rules_keeps_first_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[socket.socket] = []
    shortened: list[socket.socket] = []
    monkeypatch.setattr(listeners, "is_guarded", lambda _: True)
    monkeypatch.setattr(listeners, "save_first_packets", kept.append)
    monkeypatch.setattr(listeners, "bound_half_open", shortened.append)
    reactor = Mock(spec=Reactor(a_dispatcher()))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        listen_on(reactor, bound)
        assert kept == shortened == [bound]
        assert reactor.listen.call_args.kwargs["is_guarded"] is True


def test_connection_without_a_first_packet_has_no_sender() -> None:
    double = Mock()
    double.getsockopt.side_effect = OSError(errno.ENOPROTOOPT, "none")
    assert sender_of(double) == b""
