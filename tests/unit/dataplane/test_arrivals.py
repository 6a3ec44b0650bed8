"""The origin of connections: those of web pages, and those from beyond this machine."""

import socket
from typing import Any, cast

import pytest

from openimds.dataplane.arrivals import NEAR, Arrival, arrival_rule
from openimds.dataplane.connection import Connection
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index

NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
ENTRA = {"identities": {"system": True, "source": "entra"}}
PAGE, FAR, FAR_PAGE = Arrival(True, False), Arrival(False, True), Arrival(True, True)  # noqa: FBT003
LAN, OTHER = "192.168.1.5", "192.168.1.6"
REAL = "169.254.169.254"


class At:
    """A socket that has an address; none: the system does not tell it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def getsockname(self) -> Any:
        if not self.address:
            raise OSError
        return self.address if self.address.startswith("/") else (self.address, 8169)


def arrival(
    listener: str,
    local: str,
    peer: str,
    *,
    can_be_page: bool = True,
    checks_hosts: bool = False,
) -> Arrival:
    bound = cast("socket.socket", At(listener))
    rule = arrival_rule(bound, can_be_page=can_be_page, checks_hosts=checks_hosts)
    found = rule.decide(cast("socket.SocketType", At(local)), peer)
    assert rule.can_judge or not found.is_judged
    return found


@pytest.mark.parametrize(
    "listener, local, peer, beside, behind_port",
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", PAGE, PAGE),
        ("127.0.0.1", "127.0.0.1", "127.0.0.9", PAGE, PAGE),
        ("::1", "::1", "::1", PAGE, PAGE),
        ("0.0.0.0", "127.0.0.1", "127.0.0.1", PAGE, PAGE),
        ("0.0.0.0", "127.0.0.2", "127.0.0.9", PAGE, PAGE),
        ("::", "::1", "::1", PAGE, PAGE),
        ("::", "::ffff:127.0.0.1", "::ffff:127.0.0.1", PAGE, PAGE),
        ("0.0.0.0", LAN, LAN, PAGE, PAGE),
        (LAN, LAN, LAN, PAGE, PAGE),
        ("::", "fe80::1%eth0", "fe80::1", PAGE, PAGE),
        ("0.0.0.0", LAN, OTHER, FAR, FAR_PAGE),
        (LAN, LAN, OTHER, FAR, FAR_PAGE),
        ("::", "::1:2", "::1:3", FAR, FAR_PAGE),
        ("0.0.0.0", "", OTHER, FAR_PAGE, FAR_PAGE),
        (REAL, REAL, REAL, NEAR, NEAR),
        (REAL, REAL, OTHER, FAR, FAR),
        ("0.0.0.0", REAL, REAL, NEAR, NEAR),
        ("0.0.0.0", REAL, OTHER, FAR, FAR),
        ("::", "fe80::a9fe:a9fe%eth0", "fe80::2", FAR, FAR),
        ("/run/imds", "/run/imds", "", NEAR, NEAR),
    ],
)
def test_addresses_decide_where_a_connection_comes_from(
    listener: str, local: str, peer: str, beside: Arrival, behind_port: Arrival
) -> None:
    assert arrival(listener, local, peer) == beside
    assert arrival(listener, local, peer, checks_hosts=True) == behind_port


@pytest.mark.parametrize("listener", ["127.0.0.1", "0.0.0.0", LAN])
def test_listener_without_web_pages_judges_none(listener: str) -> None:
    assert arrival(listener, "127.0.0.1", OTHER, can_be_page=False).is_judged is False


def ask(vm: dict[str, Any], arrived: Arrival, peer: str) -> int:
    """Return the status that a caller gets in a fleet of one."""

    class ArrivedConnection(Connection):
        is_judged, is_beyond = arrived

    class ArrivedTalk(Talk):
        connection_type = ArrivedConnection

    dispatcher = a_dispatcher(an_index(*a_fleet(only=vm)))
    return ArrivedTalk(dispatcher, (peer, 5)).ask(NAME).status


@pytest.mark.parametrize(
    "vm, arrived, status",
    [
        (ENTRA, NEAR, 200),
        (ENTRA, FAR, 404),
        ({"identities": {"system": True}}, FAR, 200),
        (ENTRA | {"reach": {"address": [OTHER]}}, FAR, 200),
        ({}, FAR, 200),
    ],
)
def test_vm_of_entra_without_reach_answers_this_machine(
    vm: dict[str, Any], arrived: Arrival, status: int
) -> None:
    assert ask(vm, arrived, OTHER) == status


def test_vm_of_entra_answers_its_private_address_beyond() -> None:
    vm = ENTRA | {
        "network": {"interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": OTHER}]}}]}
    }
    assert [ask(vm, FAR, peer) for peer in (OTHER, "192.168.1.7")] == [200, 404]
