"""Defects of tokens and documents on hosts, for which a fault asks."""

import json
from typing import Any

from msgspec.structs import replace

from openimds.protocol.response import Refusal, Response
from openimds.server.hosts.link import HostsLink
from tests.unit.server.hosts.fleet import ControlSide, HostSide, with_fleet

DOCUMENT = "/metadata/attested/document?api-version=2021-02-01&nonce=1"


def test_fault_asks_for_a_value_of_its_vms_alone() -> None:
    async def work(control: ControlSide, _a: HostSide, _b: HostSide) -> None:
        link, faults = control.link, control.control.faults
        assert asks(link, "web") == []
        await control.put("web", host="a")
        await faults.set({"effect": "forged-token", "vms": ["web"], "forgery": "unsigned"})
        assert asks(link, "web") == ["unsigned"]
        assert asks(link, "db") == []
        await faults.clear()
        await faults.set({"effect": "forged-token", "from_s": 3600})
        assert asks(link, "db") == ["expired"], "for all VMs, also before its window"
        assert not link.asks_for("db", "attested-document", "expired")

    with_fleet(work)


def asks(link: HostsLink, vm: str) -> list[str]:
    forgeries = ("expired", "unsigned", "bad-signature")
    return [value for value in forgeries if link.asks_for(vm, "forged-token", value)]


def test_host_gets_defects_from_control_while_a_fault_is_set() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", host="a", reach={"address": ["10.0.0.4"]})
        await control.settle()
        vm = control.link.fleet_index.by_name["web"].vm
        spoilt = replace(vm, attested={"scenario": "new-root"})

        async def signed() -> Any:
            answer = await a.host.get_as(spoilt, DOCUMENT)
            assert isinstance(answer, Response | Refusal)
            return json.loads(answer.body)

        assert "signature" not in await signed()
        await control.control.faults.set({"effect": "attested-document", "scenario": "new-root"})
        assert "signature" in await signed()

    with_fleet(work)
