"""Documents inside the dumps of cloud-init, facter and Ohai, and a compute body alone."""

from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.interop.transcript import captured_vm
from openimds.interop.transcript.dumps import REDACTED, dumped_document
from openimds.vm.defaults import complete
from openimds.vm.types import Vm

COMPUTE = {"name": "web", "vmId": "v", "vmSize": "Standard_B1s", "location": "westus"}
ADDRESS = {"privateIpAddress": "10.0.0.4", "publicIpAddress": "20.0.0.1"}
BODY = {"compute": COMPUTE, "network": {"interface": [{"ipv4": {"ipAddress": [ADDRESS]}}]}}
OHAI_CARD = {
    "mac": "000D3A000001",
    "local_ipv4": ["10.0.0.4", "10.0.0.5"],
    "public_ipv4": ["20.0.0.1"],
    "local_ipv6": ["fd00::4"],
    "public_ipv6": [],
}
OHAI = {"metadata": {"compute": COMPUTE, "network": {"interfaces": {"000D3A000001": OHAI_CARD}}}}


def _cloud_init(**compute: object) -> dict[str, Any]:
    body = {**BODY, "compute": {**COMPUTE, **compute}}
    return {"v1": {"cloud_name": "azure"}, "ds": {"meta_data": {"imds": body}}}


def _document(vm: Vm) -> Any:
    return complete(vm)


DUMPS: dict[str, dict[str, Any]] = {
    "cloud-init": _cloud_init(),
    "facter": {"kernel": "Linux", "az_metadata": BODY},
    "puppet": {"name": "n", "values": {"az_metadata": BODY}},
    "ohai": {"kernel": {}, "azure": OHAI},
    "chef": {"name": "n", "automatic": {"azure": OHAI}},
}


@pytest.mark.parametrize("tool", DUMPS)
def test_document_in_a_dump_is_served(tool: str) -> None:
    found = captured_vm(DUMPS[tool], "vm-1")
    assert (found.vm.name, found.set_aside, found.notices) == ("web", (), ())
    seen = _document(found.vm)
    assert (seen["compute"]["vmSize"], seen["compute"]["location"]) == ("Standard_B1s", "westus")
    (nic,) = seen["network"]["interface"]
    assert nic["ipv4"]["ipAddress"][0] == ADDRESS


def test_addresses_of_ohai_are_those_of_the_interface() -> None:
    (nic,) = _document(captured_vm(DUMPS["ohai"], "vm-1").vm)["network"]["interface"]
    assert nic["macAddress"] == "000D3A000001"
    assert nic["ipv4"]["ipAddress"][1] == {"privateIpAddress": "10.0.0.5", "publicIpAddress": ""}
    assert nic["ipv6"]["ipAddress"] == [{"privateIpAddress": "fd00::4"}]


def test_ohai_without_interfaces_has_a_compute_alone() -> None:
    found = dumped_document({"azure": {"metadata": {"compute": COMPUTE}}})
    assert found
    assert found.body == {"compute": COMPUTE}


def test_compute_body_alone_is_served() -> None:
    found = captured_vm({**COMPUTE, "tags": "a:b", "newThing": "x"}, "vm-1")
    assert (found.vm.name, found.set_aside) == ("web", ("newThing",))
    assert _document(found.vm)["compute"]["tagsList"] == [{"name": "a", "value": "b"}]


def test_hidden_value_of_cloud_init_is_listed() -> None:
    found = captured_vm(_cloud_init(userData=REDACTED, plan={"name": REDACTED}), "vm-1")
    above = "ds.meta_data.imds.compute"
    assert found.hidden == (f"{above}.userData", f"{above}.plan.name")
    assert found.notices[0] == f"{above}.userData is hidden in the file and has its default"
    assert REDACTED not in repr(found.vm)


def test_unknown_member_of_a_dump_has_its_whole_path() -> None:
    found = captured_vm(_cloud_init(newThing="x"), "vm-1")
    assert found.set_aside == ("ds.meta_data.imds.compute.newThing",)


def test_impossible_value_of_a_dump_has_its_whole_path() -> None:
    with pytest.raises(ConfigError) as caught:
        captured_vm(_cloud_init(zone=5), "vm-1")
    assert caught.value.where == "ds.meta_data.imds: compute.zone"


NO_DUMPS: list[object] = [
    None,
    [],
    {},
    BODY,
    {"ds": {"meta_data": {"imds": "redacted for non-root user"}}},
    {"ds": {"meta_data": {"instance-id": "i"}}},
    {"az_metadata": None},
    {"azure": {"private_ip": "10.0.0.4"}},
    {**COMPUTE, "hardwareProfile": {}},
    {**COMPUTE, "vmId": None},
    {"values": 5},
]


@pytest.mark.parametrize("value", NO_DUMPS)
def test_other_value_is_no_dump(value: object) -> None:
    assert dumped_document(value) is None
