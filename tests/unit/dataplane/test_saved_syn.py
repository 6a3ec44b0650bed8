"""Connections behind the host rules belong to the VM whose hardware address opened them."""

import socket
import sys
from pathlib import Path
from typing import Any

import msgspec.msgpack
import pytest

from openimds.dataplane.connection import Connection
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.saved_syn import (
    bound_half_open,
    hardware_of,
    save_first_packets,
    sender_of,
)
from openimds.dataplane.turns import Turns
from openimds.linux.platform import IS_LINUX
from openimds.vm.fleet_file import parse_vm
from tests.support.talk import Talk, a_dispatcher, a_fleet, an_index

MAC, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ADDRESS, ELSEWHERE = "10.0.0.4", "10.0.0.5"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"


class SentConnection(Connection):
    """A connection that MAC has opened, behind the host rules."""

    def __init__(
        self, turns: Turns, accepted: socket.SocketType, peer: str, listener: str = ""
    ) -> None:
        super().__init__(turns, accepted, peer, listener, bytes.fromhex(MAC.replace(":", "")))


class SentTalk(Talk):
    connection_type = SentConnection


def bound(address: str, mac: str) -> dict[str, Any]:
    return {"reach": {"interface": f"tap-{mac[-1]}", "mac": mac, "address": [address]}}


def document(mac: str) -> dict[str, Any]:
    return {"network": {"interface": [{"macAddress": mac}]}}


def serving(**vms: Any) -> tuple[Dispatcher, list[tuple[str, str]]]:
    """Return a dispatcher, and the reports of moved addresses."""
    dispatcher, moved = a_dispatcher(an_index(*a_fleet(**vms))), []
    dispatcher.on_moved_address = lambda address, vm: moved.append((address, vm))
    return dispatcher, moved


def test_connection_of_the_bound_hardware_address_is_served() -> None:
    dispatcher, moved = serving(a=bound(ADDRESS, MAC), b=bound(ELSEWHERE, OTHER))
    assert SentTalk(dispatcher, (ADDRESS, 5)).ask(NAME).body == b"a"
    assert moved == []


@pytest.mark.parametrize(
    "owner",
    [bound(ADDRESS, OTHER), {"reach": {"address": [ADDRESS]}, **document(MAC)}],
    ids=["another hardware address", "no interface"],
)
def test_connection_of_another_hardware_address_is_closed(owner: dict[str, Any]) -> None:
    dispatcher, moved = serving(a=owner, b=bound(ELSEWHERE, MAC))
    talk = SentTalk(dispatcher, (ADDRESS, 5))
    assert talk.is_closed
    assert talk.socket.take() == b""
    assert moved == [(ADDRESS, "a")]
    assert len(dispatcher.connections) == 0


def test_open_connection_ends_when_its_address_moves() -> None:
    dispatcher, moved = serving(a=bound(ADDRESS, MAC), b=bound(ELSEWHERE, OTHER))
    talk = SentTalk(dispatcher, (ADDRESS, 5))
    assert talk.ask(NAME).body == b"a"
    index = dispatcher.fleet_index
    swapped = a_fleet(a=bound(ELSEWHERE, MAC), b=bound(ADDRESS, OTHER))
    index.apply(index.plan(swapped))
    assert talk.send(b"GET / HTTP/1.1\r\n\r\n") == b""
    assert talk.is_closed
    assert moved == [(ADDRESS, "b")]
    assert len(dispatcher.connections) == 0


def test_open_connection_survives_a_change_of_its_vm() -> None:
    dispatcher, moved = serving(a=bound(ADDRESS, MAC), b=bound(ELSEWHERE, OTHER))
    talk = SentTalk(dispatcher, (ADDRESS, 5))
    assert talk.ask(NAME).body == b"a"
    index = dispatcher.fleet_index
    index.apply(index.plan(a_fleet(a={**bound(ADDRESS, MAC), "compute": {"name": "renamed"}})))
    assert talk.ask(NAME).body == b"renamed"
    assert moved == []


@pytest.mark.parametrize(
    "vm, expected",
    [
        ({"reach": {"interface": "tap-a", "mac": "02-00-00-00-00-0A"}}, "02000000000a"),
        ({"reach": {"interface": "tap-a"}, **document("02000000000A")}, "02000000000a"),
        ({"reach": {"interface": "tap-a"}, **document("XX-XX")}, b"none".hex()),
        (document(MAC), b"none".hex()),
    ],
    ids=["reach", "document", "placeholder", "no interface"],
)
def test_vm_has_a_hardware_address_only_with_an_interface(
    vm: dict[str, Any], expected: str
) -> None:
    assert hardware_of(msgspec.msgpack.encode(parse_vm("a", vm))).hex() == expected


@pytest.mark.skipif(not IS_LINUX, reason="Linux keeps first packets")
def test_kernel_keeps_the_first_packet_of_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        save_first_packets(listening)
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                # Loopback has hardware addresses of zeros.
                assert sender_of(accepted) == bytes(6)


@pytest.mark.skipif(not IS_LINUX, reason="the host rules are of Linux")
def test_half_open_connections_end_soon_and_have_room() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        bound_half_open(listening)
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT) == 1
        # In `struct tcp_info` of a listening socket, tcpi_sacked is the length of its queue.
        info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        most = int(Path("/proc/sys/net/core/somaxconn").read_text())
        assert int.from_bytes(info[28:32], sys.byteorder) == min(65_535, most)


def test_connection_without_a_kept_packet_has_no_sender() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert sender_of(accepted) == b""
