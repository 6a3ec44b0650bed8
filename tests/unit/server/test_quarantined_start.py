"""The start of a server whose store has rows that cannot be taken."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import structs

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import fleet_contents
from openimds.fleet.store.port import Write
from openimds.fleet.store.sqlite import SqliteStore
from openimds.server.build import build
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.server import Server
from openimds.server.startup import Startup, load
from openimds.settings import Settings
from openimds.vm.types import Identities

DAMAGED = b'{"compute": '


def write(state: Path, origin: str = "api", **rows: bytes) -> None:
    state.mkdir(mode=0o700, exist_ok=True)
    store = SqliteStore(state / "fleet.db")
    store.write([Write(name, body, origin) for name, body in rows.items()], "earlier", "")
    store.close()


def startup(state: Path, **vms: object) -> Startup:
    settings = Settings(listen="127.0.0.1:0", admin="none", public="none", state=str(state))
    if not vms:
        return load(settings)
    contents = fleet_contents({"vms": vms})
    return structs.replace(load(settings), vms=contents.vms, origin="file", source="fleet.yaml")


def started(
    begin: Startup,
    look: Callable[[Server], Awaitable[None]],
    inherited: InheritedSockets = InheritedSockets(),  # noqa: B008 - frozen
) -> list[str]:
    """Look at a running server; return its messages."""
    messages: list[str] = []

    async def run() -> None:
        server = build(begin, messages.append, inherited)
        try:
            await server.start()
            await look(server)
        finally:
            await server.stop(patience_s=0)

    asyncio.run(run())
    return messages


def test_start_reports_a_damaged_row_and_serves_the_others(tmp_path: Path) -> None:
    async def look(server: Server) -> None:
        assert {*server.dispatcher.fleet_index.by_name} == {"a"}

    write(tmp_path / "state", a=b"{}", b=DAMAGED)
    messages = started(startup(tmp_path / "state"), look)
    expected = (
        "b is not served: vms.b: saw a stored body that is no JSON, expected a VM as JSON. "
        "It stays in the store; replace it with openimds vm put, or type openimds vm remove b"
    )
    assert messages == [expected]
    assert started(startup(tmp_path / "state"), look) == messages  # The row is still there.


def test_vm_comes_back_with_a_release_that_takes_its_body(tmp_path: Path) -> None:
    async def look(server: Server) -> None:
        assert {*server.dispatcher.fleet_index.by_name} == served

    served = {"a"}
    write(tmp_path / "state", a=b"{}", b=b'{"new":1}')
    assert len(started(startup(tmp_path / "state"), look)) == 1
    served = {"a", "b"}
    write(tmp_path / "state", b=b"{}")
    assert started(startup(tmp_path / "state"), look) == []


def test_stored_vm_gives_way_to_the_file_at_the_start(tmp_path: Path) -> None:
    async def look(server: Server) -> None:
        index = server.dispatcher.fleet_index
        entry = index.entry_at("10.0.0.1")
        assert entry
        assert (entry.name, {*index.quarantine}) == ("red", {"blue"})

    write(tmp_path / "state", blue=b'{"reach":{"address":["10.0.0.1"]}}', lone=b"{}")
    red = {"reach": {"address": ["10.0.0.1"]}}
    (message,) = started(startup(tmp_path / "state", red=red), look)
    assert message.startswith(
        "blue is not served: vms.blue.reach.address: saw 10.0.0.1, which is also that of red"
    )


def test_no_default_vm_stands_in_for_quarantined_ones(tmp_path: Path) -> None:
    """It would answer every caller, with an identity."""

    async def look(server: Server) -> None:
        assert server.dispatcher.fleet_index.by_name == {}
        assert server.dispatcher.fleet_index.entry_at("127.0.0.1") is None

    write(tmp_path / "state", b=DAMAGED)
    assert len(started(startup(tmp_path / "state"), look)) == 1


def test_damaged_default_vm_is_made_anew(tmp_path: Path) -> None:
    async def look(server: Server) -> None:
        index = server.dispatcher.fleet_index
        assert {name: entry.vm.identities for name, entry in index.by_name.items()} == {
            "vm-1": Identities(system=True)
        }

    write(tmp_path / "state", "default", **{"vm-1": DAMAGED})
    assert started(startup(tmp_path / "state"), look) == []


def test_unopenable_listener_of_a_stored_vm_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    text = f"unix:{folder}/b"

    async def look(server: Server) -> None:
        index = server.dispatcher.fleet_index
        assert ({*index.by_name}, {*index.quarantine}) == ({"a"}, {"b"})
        await server.reload()
        assert {*index.quarantine} == {"b"}
        folder.mkdir()
        await server.reload()
        assert ({*index.by_name}, {*index.quarantine}) == ({"a", "b"}, set())
        assert text in server.listeners.by_text

    write(tmp_path / "state", a=b"{}", b=b'{"reach":{"listen":["%s"]}}' % text.encode())
    messages = started(startup(tmp_path / "state"), look)
    assert [message.partition(":")[0] for message in messages] == [
        "b is not served",
        "b is served again",
    ]


def test_scenario_and_faults_may_name_a_quarantined_vm(tmp_path: Path) -> None:
    async def look(server: Server) -> None:
        assert server.events_service.events() == []
        assert [fault.spec.vms for fault in server.faults.running] == [("b",)]

    write(tmp_path / "state", a=b"{}", b=DAMAGED)
    contents = fleet_contents(
        {
            "vms": {"c": {}},
            "events": [{"type": "Reboot", "vms": ["b"], "at_s": 0}],
            "faults": [{"effect": "status", "status": 410, "vms": ["b"]}],
        }
    )
    begin = structs.replace(
        startup(tmp_path / "state", c={}), events=contents.events, faults=contents.faults
    )
    messages = started(begin, look)
    assert messages[0].startswith("b is not served: ")
    assert messages[1:] == [
        "a scenario names VMs that are not served: b",
        "1 fault set: status",
    ]


def test_command_for_a_quarantined_vm_is_refused(tmp_path: Path) -> None:
    async def look(_: Server) -> None:
        raise AssertionError("it has started")

    write(tmp_path / "state", a=b"{}", b=DAMAGED)
    with socket.create_server(("127.0.0.1", 0)) as own:
        inherited = InheritedSockets(dataplane=((own, "b"),), is_exclusive=True)
        with pytest.raises(ConfigError, match=r'--vm: saw "b", which is not served \(vms.b: saw'):
            started(startup(tmp_path / "state"), look, inherited)
