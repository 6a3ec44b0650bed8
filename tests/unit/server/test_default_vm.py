"""The VM of a server without configuration, and the banner's caller."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import structs

from openimds.cli.serve import _examples
from openimds.credentials.service import has_keys
from openimds.fleet.fleet_files import DEFAULT_VM, fleet_contents
from openimds.fleet.store.port import StoreError
from openimds.fleet.store.state import STORE_NAME
from openimds.server.build import build
from openimds.server.ready import LocalCaller, Ready
from openimds.server.server import Server
from openimds.server.startup import Startup, load
from openimds.settings import Settings
from openimds.vm.types import Identities

IDS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities"

T = TypeVar("T")
SYSTEM, NONE = Identities(system=True), Identities()


def settings(state: Path | None = None, *, recovers: bool = False) -> Settings:
    return Settings(
        listen="127.0.0.1:0",
        admin="none",
        public="none",
        state=str(state) if state else "",
        state_recover=recovers,
    )


def started(startup: Startup, look: Callable[[Server, Ready], T]) -> tuple[T, list[str]]:
    """Return a look at a running server, and its messages."""
    messages: list[str] = []

    async def run() -> T:
        server = build(startup, messages.append)
        try:
            seen = look(server, await server.start())
            if server.state:  # As the first token does.
                await server.credentials.warm(server.clock())
            return seen
        finally:
            await server.stop(patience_s=0)

    return asyncio.run(run()), messages


def identities(server: Server, _: Ready) -> dict[str, Identities]:
    entries = server.dispatcher.fleet_index.by_name
    return {name: entry.vm.identities for name, entry in entries.items()}


def fleet(**vms: object) -> Startup:
    return structs.replace(load(settings()), vms=fleet_contents({"vms": vms}).vms, origin="file")


def test_bare_server_has_a_vm_with_an_identity() -> None:
    assert started(load(settings()), identities) == ({DEFAULT_VM: SYSTEM}, [])


def test_vm_of_a_fleet_file_gets_no_identity_of_its_own() -> None:
    served, _ = started(fleet(**{DEFAULT_VM: {}}), identities)
    assert served == {DEFAULT_VM: NONE}


def test_default_vm_stays_as_its_store_has_it(tmp_path: Path) -> None:
    startup = load(settings(tmp_path))
    assert started(startup, identities) == ({DEFAULT_VM: SYSTEM}, [])
    assert [*tmp_path.glob("keys/*.pem")]
    assert started(startup, identities) == ({DEFAULT_VM: SYSTEM}, [])


def test_lost_store_gives_no_caller_a_token_of_its_keys(tmp_path: Path) -> None:
    startup = load(settings(tmp_path))
    started(startup, identities)
    (tmp_path / STORE_NAME).unlink()
    with pytest.raises(StoreError, match=f"{STORE_NAME} is missing"):
        started(startup, identities)
    served, messages = started(load(settings(tmp_path, recovers=True)), identities)
    assert served == {DEFAULT_VM: NONE}
    assert [message.split(":")[0] for message in messages] == [
        f"{tmp_path / STORE_NAME} is missing",
        f"{DEFAULT_VM} has no identity",
    ]


def test_emptied_store_gives_no_caller_a_token_of_its_keys(tmp_path: Path) -> None:
    async def empty() -> None:
        server = build(load(settings(tmp_path)), lambda _: None)
        await server.start()
        await server.credentials.warm(server.clock())
        await server.fleet_service.remove(DEFAULT_VM, "test")
        await server.stop(patience_s=0)

    asyncio.run(empty())
    served, _ = started(load(settings(tmp_path)), identities)
    assert served == {DEFAULT_VM: NONE}


@pytest.mark.parametrize(
    "key", ["keys/a.pem", "ca/root.pem", "hardware/intel-pck.pem", "msi-v2.key"]
)
def test_any_key_counts_even_a_damaged_one(key: str, tmp_path: Path) -> None:
    path = tmp_path / key
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    assert has_keys(tmp_path)
    path.unlink()
    assert not has_keys(tmp_path)


def test_server_without_file_and_state_makes_no_key_at_start() -> None:
    def has_keyring(server: Server, _: Ready) -> bool:
        return server.credentials._keyring is not None

    assert started(load(settings()), has_keyring)[0] is False


def ways(server: Server, ready: Ready) -> list[tuple[str, str, str, bool]]:
    """Return VM, source, name of the URL and token of each caller."""
    urls = {ready.imds: "shared", **{one.url: one.text for one in server.listeners.all if one.own}}
    return [(one.vm, one.address, urls[one.url], one.has_token) for one in ready.callers]


@pytest.mark.parametrize(
    "vms, callers",
    [
        ({"a": {}}, [("a", "", "shared", False)]),
        ({"a": {"identities": {"system": True}}}, [("a", "", "shared", True)]),
        ({"a": {"identities": {"user": [f"{IDS}/one"]}}}, [("a", "", "shared", True)]),
        (
            {"a": {"identities": {"user": [f"{IDS}/one", f"{IDS}/two"]}}},
            [("a", "", "shared", False)],
        ),
        (
            {
                "a": {"reach": {"address": ["10.255.255.1", "127.0.0.11"]}},
                "b": {"reach": {"listen": ["127.0.0.1:0"], "address": ["127.0.0.12"]}},
            },
            [("a", "127.0.0.11", "shared", False), ("b", "", "127.0.0.1:0", False)],
        ),
        (
            {
                "a": {"reach": {"address": ["10.255.255.1"]}},
                "b": {"reach": {"address": ["fd00::1", "127.0.0.1"]}},
            },
            [("b", "127.0.0.1", "shared", False)],
        ),
        ({"a": {}, "b": {}}, []),
        (
            {
                name: {"reach": {"address": [f"127.0.0.1{place}"]}}
                for place, name in enumerate("abcd")
            },
            [(name, f"127.0.0.1{place}", "shared", False) for place, name in enumerate("abc")],
        ),
    ],
)
def test_ready_names_callers_of_this_machine(
    vms: dict[str, object], callers: list[tuple[str, str, str, bool]]
) -> None:
    assert started(fleet(**vms), ways)[0] == callers


def test_examples_of_the_banner_fit_listener_and_caller() -> None:
    def lines(*callers: LocalCaller) -> list[str]:
        ready = Ready("http://127.0.0.1:1", None, None, None, callers)
        return [f"{about}: {line.partition(' -H')[0]}" for about, line in _examples(ready)]

    url, document, token = "http://127.0.0.1:1", "The instance document", "A token"
    here = LocalCaller("a", url, has_token=True)
    assert lines(here) == [f"{document}: curl -s", f"{token}: curl -s"]
    assert lines(structs.replace(here, has_token=False)) == [f"{document}: curl -s"]
    assert lines() == []
    assert lines(structs.replace(here, address="127.0.0.1"))[0] == f"{document}: curl -s"
    assert lines(
        LocalCaller("a", url, "127.0.0.11"),
        LocalCaller("b", "unix:/run/a b.sock"),
        LocalCaller("c", "http://169.254.169.254:80", netns="c"),
    ) == [
        "a: curl -s --interface 127.0.0.11",
        "b: curl -s --unix-socket '/run/a b.sock'",
        "c: ip netns exec c curl -s",
    ]
