"""Filters follow the faults, the fleet and the listeners of a running server."""

import asyncio
import errno
import select
import socket
from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path
from typing import Any, cast

import pytest

from openimds.dataplane.listeners import Listener
from openimds.dataplane.reactor import Reactor
from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST, catalog
from openimds.faults import FaultInjector
from openimds.fleet.index import FleetIndex
from openimds.linux import source_filter
from openimds.linux.host.nft_rules import PACKET_MARK
from openimds.linux.source_filter import MOST_SOURCES
from openimds.server.build import build
from openimds.server.connection_filters import ConnectionFilters
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.server import Server
from openimds.server.startup import load
from openimds.settings import Settings
from openimds.vm.fleet_file import parse_vm
from tests.support.filters import filters
from tests.support.talk import replies, request

pytestmark = filters

ASK = request(
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
    headers={"Metadata": "true", "Connection": "close"},
)
_SWALLOWED_S = 0.2
"""A handshake on loopback takes microseconds; a swallowed one never ends."""
_ANSWERED_S = 10
"""The longest wait for a handshake on a busy machine."""
HOLE: dict[str, Any] = {"effect": "blackhole"}
A, B, STRANGER = "127.0.0.51", "127.0.0.52", "127.0.0.59"
FLEET = f"""
vms:
  a: {{reach: {{address: [{A}]}}}}
  b: {{reach: {{address: [{B}]}}}}
"""


class Stage:
    """A server with a stopped clock, and callers from addresses of loopback."""

    def __init__(self, server: Server, port: int, messages: list[str]) -> None:
        self.server, self.port, self.messages = server, port, messages

    def expect(self, *swallowed: str, port: int = 0) -> None:
        """Check that connections from these addresses alone are not answered."""
        for source in (A, B, STRANGER):
            is_answered = source not in swallowed
            wait_s = _ANSWERED_S if is_answered else _SWALLOWED_S
            assert _connects(source, port or self.port, wait_s) is is_answered, source

    async def pass_s(self, seconds: float) -> None:
        planned = self.server.clock.planned(advance_s=seconds)
        await self.server.events_service.set_clock(planned)

    async def put(self, name: str, **members: Any) -> None:
        await self.server.fleet_service.put(parse_vm(name, members), "test")


def _connects(source: str, port: int, within_s: float) -> bool:
    with socket.socket() as caller:
        caller.bind((source, 0))
        caller.settimeout(0)
        assert caller.connect_ex(("127.0.0.1", port)) == errno.EINPROGRESS
        return bool(select.select([], [caller], [], within_s)[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def serve(
    folder: Path,
    work: Callable[[Stage], Awaitable[None]],
    fleet: str = FLEET,
    inherited: InheritedSockets = InheritedSockets(),  # noqa: B008 - frozen
) -> list[str]:
    """Serve a fleet while the test works; return the messages."""
    path = folder / "fleet.yaml"
    path.write_text(fleet)
    messages: list[str] = []

    async def whole() -> None:
        settings = Settings(
            admin="none",
            public="none",
            listen="127.0.0.1:0",
            virtual_clock=True,
            fleet=str(path),
        )
        server = build(load(settings), messages.append, inherited)
        port = int((await server.start()).imds.rpartition(":")[2])
        try:
            await server.events_service.set_clock(server.clock.planned(rate=0))
            await work(Stage(server, port, messages))
        finally:
            await server.stop(patience_s=0)

    asyncio.run(whole())
    # Each fault that is set or cleared is a message, too.
    return [text for text in messages if " set: " not in text and " cleared: " not in text]


def test_named_vm_is_swallowed_until_its_fault_ends(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.server.faults.set({**HOLE, "vms": ["a"], "from_s": 5, "until_s": 8})
        stage.expect()
        await stage.pass_s(5)
        stage.expect(A)
        await stage.pass_s(3)
        stage.expect()
        await stage.server.faults.set({**HOLE, "vms": ["b"]})
        stage.expect(B)
        await stage.server.faults.clear()
        stage.expect()
        # The kernel drops connections unseen: they are not counted.
        assert stage.server.faults.played == {}

    assert serve(tmp_path, work) == []


def test_fault_without_vms_swallows_all_callers(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.server.faults.set(HOLE)
        stage.expect(A, B, STRANGER)
        await stage.server.faults.clear()
        stage.expect()

    assert serve(tmp_path, work) == []


def test_only_open_vm_is_swallowed_from_every_address(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.server.faults.set({**HOLE, "vms": ["a"]})
        stage.expect(A, B, STRANGER)

    assert serve(tmp_path, work, "vms: {a: {}}") == []


def test_filter_follows_a_change_of_the_address(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.server.faults.set({**HOLE, "vms": ["a"]})
        await stage.put("a", reach={"address": [STRANGER]})
        stage.expect(STRANGER)

    assert serve(tmp_path, work) == []


def test_later_listener_of_a_vm_is_filtered_alone(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.server.faults.set({**HOLE, "vms": ["a"]})
        own, other = free_port(), free_port()
        await stage.put("a", reach={"address": [A], "listen": [f"127.0.0.1:{own}"]})
        await stage.put("b", reach={"address": [B], "listen": [f"127.0.0.1:{other}"]})
        stage.expect(A, B, STRANGER, port=own)
        stage.expect(port=other)
        stage.expect(A)
        await stage.server.faults.clear()
        stage.expect(port=own)

    assert serve(tmp_path, work) == []


def test_listener_reopened_after_a_refusal_is_filtered(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.server.faults.set({**HOLE, "vms": ["a"]})
        (refused,) = await stage.server.faults.set({"effect": "refused"})
        await stage.server.faults.clear(refused.key)
        stage.expect(A)

    assert serve(tmp_path, work) == []


def test_fault_of_the_file_is_active_from_the_start(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.expect(B)

    faults = "faults: [{effect: blackhole, vms: [b]}]"
    assert serve(tmp_path, work, FLEET + faults) == []


def test_inherited_socket_has_no_filter_after_the_server(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with listening.dup():

        async def work(stage: Stage) -> None:
            await stage.server.faults.set({**HOLE, "vms": ["a"]})
            stage.expect(A, port=port)
            await stage.server.host.listener_faults.close()
            await stage.put("b", compute={"vmSize": "T"}, reach={"address": [B]})
            stage.expect(port=port)

        inherited = InheritedSockets(dataplane=((listening, ""),))
        assert serve(tmp_path, work, inherited=inherited) == []
        assert _connects(A, port, _ANSWERED_S)


def test_open_connection_gets_no_response(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port, local_addr=(A, 0))
        writer.write(ASK.replace(b"Connection: close\r\n", b""))
        head = await reader.readuntil(b"\r\n\r\na")
        assert replies(head)[0].body == b"a"
        await stage.server.faults.set({**HOLE, "vms": ["a"]})
        writer.write(ASK)
        # The other VM asks later; when it has its response, the first request has been read.
        other, asking = await asyncio.open_connection("127.0.0.1", stage.port, local_addr=(B, 0))
        asking.write(ASK)
        assert (await other.read()).endswith(b"b")
        asking.close()
        assert stage.server.faults.played == {"blackhole": 1}
        stage.server.dispatcher.connections.sweep(inf)
        assert await reader.read() == b""
        writer.close()

    assert serve(tmp_path, work) == []


@pytest.mark.parametrize(
    "error, reason",
    [
        (
            OSError(errno.ENOPROTOOPT, "this system has no filters of sockets"),
            "this system has no filters of sockets",
        ),
        (
            PermissionError(errno.EPERM, "Operation not permitted"),
            "this kernel wants the capability NET_ADMIN for it",
        ),
    ],
)
def test_system_without_filters_refuses_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    def attach(_bound: socket.socket, _sources: object, _mark: int = 0) -> None:
        raise error

    async def work(stage: Stage) -> None:
        monkeypatch.setattr(source_filter, "attach", attach)
        with pytest.raises(ConfigError) as caught:
            await stage.server.faults.set(HOLE)
        assert str(caught.value) == (
            f'effect: saw "blackhole" ({reason}), expected an effect of this system. '
            "Use openimds exec, or write refused or hang"
        )
        assert not stage.server.faults.running
        await stage.server.faults.set({"effect": "hang"})

    assert serve(tmp_path, work) == []


class GuardedSocket:
    """A listening socket at the IPv6 address of the host rules."""

    family = socket.AF_INET6

    def fileno(self) -> int:
        return 3

    def getsockname(self) -> tuple[str, int]:
        return ("fe80::a9fe:a9fe%br0", 80)


def test_ipv6_socket_that_takes_unmarked_packets_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attached: list[tuple[object, ...]] = []
    messages: list[str] = []

    def attach(bound: socket.socket, sources: object, mark: int = 0) -> None:
        attached.append((bound, sources, mark))
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(source_filter, "attach", attach)
    bound = cast("socket.socket", GuardedSocket())
    listener = Listener(cast("Reactor", None), (bound,), "http://[fe80::a9fe:a9fe]:80")
    index = FleetIndex[Any](catalog(NEWEST), 1000)
    filters = ConnectionFilters(
        FaultInjector(), lambda: 0.0, index, lambda: [listener], InheritedSockets(), messages.append
    )
    filters.apply()
    filters.apply()
    assert attached == [(bound, (), PACKET_MARK)]
    (message,) = messages
    assert message == (
        "fe80::a9fe:a9fe%br0 is open to guests while the host rules are missing (operation not "
        "permitted); serve as root"
    )


def many(first: int) -> str:
    """Return a fleet whose VM a has so many addresses more than the bound."""
    addresses = [f"127.0.{n // 200 + 1}.{n % 200 + 1}" for n in range(MOST_SOURCES + first)]
    return f"vms: {{a: {{reach: {{address: [{', '.join(addresses)}]}}}}, b: {{}}}}"


def test_vm_with_too_many_addresses_is_refused(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        with pytest.raises(ConfigError) as caught:
            await stage.server.faults.set({**HOLE, "vms": ["a"]})
        assert str(caught.value) == (
            f"vms: saw {MOST_SOURCES + 1} addresses of these VMs, expected at most {MOST_SOURCES}. "
            "Without vms it is for all callers"
        )

    assert serve(tmp_path, work, many(1)) == []


def test_addresses_beyond_the_bound_are_reported_once(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.server.faults.set({**HOLE, "vms": ["a"]})
        wide = [f"127.0.{n // 200 + 1}.{n % 200 + 1}" for n in range(MOST_SOURCES + 1)]
        for size in ("S", "T"):
            await stage.put("a", compute={"vmSize": size}, reach={"address": wide})
        assert not _connects(min(wide), stage.port, _SWALLOWED_S)
        assert _connects(max(wide), stage.port, _ANSWERED_S)

    (message,) = serve(tmp_path, work, many(0))
    assert message == (
        f"the fault blackhole cannot swallow all connections ({MOST_SOURCES + 1} addresses, of "
        f"which {MOST_SOURCES} can be filtered); the others are accepted, and their requests get "
        "no response"
    )


def test_refusal_of_the_kernel_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attach(_bound: socket.socket, _sources: object, _mark: int = 0) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    async def work(stage: Stage) -> None:
        monkeypatch.setattr(source_filter, "check", lambda *_: None)
        monkeypatch.setattr(source_filter, "attach", attach)
        await stage.server.faults.set(HOLE)
        stage.expect()

    (message,) = serve(tmp_path, work)
    assert message.startswith(
        "the fault blackhole cannot swallow all connections (cannot allocate memory); "
    )
