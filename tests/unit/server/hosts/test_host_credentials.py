"""The credentials of a host's guests: wanted leaves, and control that is away."""

import asyncio
from typing import Any

import pytest

from openimds.credentials.keys.files import new_key
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.remote.host_leaves import HostLeaves
from openimds.server.hosts.host_credentials import AwayError, FleetCredentials
from openimds.server.seam.messages import Ping
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm

DIGESTS = dict.fromkeys("abcd", b"")


def vm(name: str, location: str) -> Vm:
    return parse_vm(name, {"compute": {"location": location}})


def made() -> FleetCredentials:
    return FleetCredentials(
        None, "", lambda _: None, make_key=new_key, steady=lambda: 0.0, life_clock=None
    )


def test_control_is_away_before_it_is_followed() -> None:
    own = made()

    async def ask() -> None:
        await own.ask(Ping())

    with pytest.raises(AwayError, match="not followed yet"):
        asyncio.run(ask())
    own.provider.close()


def test_subjects_of_most_vms_are_wanted_first(monkeypatch: Any) -> None:
    wanted: list[list[LeafSubject]] = []
    monkeypatch.setattr(HostLeaves, "want", lambda _, subjects: wanted.append([*subjects]))
    own = made()
    own.put([vm("a", "westeurope"), vm("b", "eastus"), vm("c", "eastus")], {}, (), 0.0, DIGESTS)
    first, second = wanted[-1]
    own.put([vm("b", "westeurope"), vm("c", "westeurope")], {}, (), 0.0, DIGESTS)
    assert wanted[-1] == [second]
    own.put([vm("d", "eastus")], {}, (), 0.0, DIGESTS)
    assert wanted[-1] == [second, first]
    own.leave({"a", "b", "c", "unknown"})
    assert wanted[-1] == [first]
    own.leave(set())
    own.leave({"d"})
    assert wanted[-1] == []
    own.provider.close()
