"""VMs and containers of Proxmox VE."""

from typing import Any

import pytest

from openimds.interop.importers import ImportedVm, parse_text, read, source_hint
from tests.unit.interop.importers.documents import document
from tests.unit.vm.refused import refused

QM = """\
#a note of the operator
boot: order=scsi0;net0
cipassword: hunter2
ciuser: ops
cores: 2
ipconfig0: ip=10.0.0.4/24,gw=10.0.0.1,ip6=auto
ipconfig1: ip=dhcp,ip6=fd00::5/64
name: web-1
nameserver: 10.0.0.2
net0: virtio=BC:24:11:00:00:04,bridge=vmbr0,firewall=1
net1: model=e1000,macaddr=bc:24:11:00:00:05,bridge=vmbr1
ostype: win11
scsi0: local-lvm:vm-101-disk-0,size=32G
smbios1: uuid=7b10d7af-b932-4c66-b2c3-3996152ec465
sshkeys: ssh-ed25519%20AAAA%20one%0Assh-rsa%20BBBB%20two%0A
unused: broken

[before-upgrade]
name: old
net0: virtio=BC:24:11:00:00:99,bridge=vmbr9
"""


def _only(value: object) -> ImportedVm:
    (one,) = read(value)
    return one


def test_configuration_becomes_a_vm() -> None:
    one = _only(parse_text(QM))
    assert one.name == "web-1"
    assert one.definition["reach"] == {"interface": "tap101i0", "mac": "bc:24:11:00:00:04"}
    seen = document(one)
    compute = seen["compute"]
    assert compute["vmId"] == "7b10d7af-b932-4c66-b2c3-3996152ec465"
    assert (compute["osType"], compute["osProfile"]["adminUsername"]) == ("Windows", "ops")
    keys = [key["keyData"] for key in compute["publicKeys"]]
    assert keys == ["ssh-ed25519 AAAA one", "ssh-rsa BBBB two"]
    first, second = seen["network"]["interface"]
    assert (first["macAddress"], second["macAddress"]) == ("BC2411000004", "BC2411000005")
    assert first["ipv4"]["ipAddress"][0]["privateIpAddress"] == "10.0.0.4"
    assert first["ipv4"]["subnet"][0] | {"dnsservers": []} == {
        "address": "10.0.0.0",
        "dnsservers": [],
        "prefix": "24",
    }
    assert second["ipv6"]["ipAddress"] == [{"privateIpAddress": "fd00::5"}]


def test_keys_without_a_place_are_unmapped() -> None:
    one = _only(parse_text(QM))
    keys = ("boot", "cipassword", "cores", "nameserver", "scsi0", "unused")
    assert one.unmapped == keys
    assert "hunter2" not in repr(one)


def _api(**members: object) -> dict[str, Any]:
    own = {"name": "a", "ostype": "l26", "digest": "d", "net0": "virtio=BC:24:11:00:00:04"}
    return {"data": {**own, **members}}


def test_json_of_the_api_is_read_like_its_text() -> None:
    one = _only(_api(scsi0="ceph:vm-7-disk-0", memory=512))
    assert (one.name, one.unmapped) == ("a", ("data.scsi0", "data.memory"))
    assert one.definition["reach"] == {"interface": "tap7i0", "mac": "bc:24:11:00:00:04"}
    assert document(one)["compute"]["osType"] == "Linux"
    assert _only(_api()["data"]).name == "a"


TAPS: list[tuple[dict[str, object], object]] = [
    ({"vmid": 9, "scsi0": "x:vm-7-disk-0"}, "tap9i0"),
    ({"scsi0": "x:vm-7-disk-0", "scsi1": "x:vm-8-disk-0"}, None),
    ({"net0": "virtio=BC:24:11:00:00:04,bridge=vmbr0"}, "vmbr0"),
    ({"net0": "virtio,bridge=vmbr0"}, "vmbr0"),
]


@pytest.mark.parametrize("members, interface", TAPS)
def test_tap_needs_the_number_of_the_vm(members: dict[str, object], interface: object) -> None:
    reach = _only(_api(**members)).definition.get("reach", {})
    assert isinstance(reach, dict)
    assert reach.get("interface") == interface


def test_container_has_a_veth() -> None:
    text = (
        "hostname: db\nostype: debian\nrootfs: local-lvm:vm-102-disk-0,size=8G\n"
        "net1: name=eth1,bridge=vmbr1,hwaddr=BC:24:11:00:00:07,ip=dhcp,type=veth\n"
        "net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:06,ip=10.0.0.6/25,type=veth\n"
    )
    one = _only(parse_text(text))
    assert one.definition["reach"] == {"interface": "veth102i0", "mac": "bc:24:11:00:00:06"}
    first, second = document(one)["network"]["interface"]
    assert first["ipv4"]["subnet"][0]["prefix"] == "25"
    assert second["macAddress"] == "BC2411000007"


def test_address_without_a_length_has_no_subnet() -> None:
    one = _only(_api(ipconfig0="ip=10.0.0.4"))
    assert one.definition["network"] == {
        "interface": [
            {
                "macAddress": "BC2411000004",
                "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]},
            }
        ]
    }


def test_configuration_without_a_card_is_read() -> None:
    one = _only(parse_text("name: a\nscsihw: virtio-scsi-pci\nostype: l26\nnet7x: 1\n"))
    assert (one.name, one.unmapped) == ("a", ("scsihw", "net7x"))


def test_configuration_without_a_name_has_its_number() -> None:
    assert _only(parse_text("scsi0: local:8006/vm-8006-disk-0.qcow2\n")).name == "vm-8006"


def test_configuration_without_a_name_is_refused() -> None:
    assert refused(read, {"ostype": "l26", "net0": "x"}).seen == "a VM without a name"


def test_malformed_range_is_refused() -> None:
    where = "data.ipconfig0"
    assert refused(read, _api(ipconfig0="ip=10.0.0.4/99"))[0] == where


OTHERS = [
    "",
    "vms: {a: {}}\n",
    "vms:\n  a: {}\n",
    "name: a\nmachine: q35\n",
    '{"net0": "x", "ostype": "y"}',
    "ostype: l26\nnet0: x\n  indented: 1\n",
]


@pytest.mark.parametrize("text", OTHERS)
def test_other_text_is_no_configuration(text: str) -> None:
    assert parse_text(text) is None


HINTS: dict[bytes, str] = {
    b"PK\x03\x04rest": "It is a zip; for a plan of Terraform import the output of",
    b"param name string\nresource vm 'Microsoft.Compute/virtualMachines@2023-09-01' = {\n}": (
        "It looks like Bicep: import the output of az bicep build"
    ),
    b'resource "azurerm_linux_virtual_machine" "vm" {\n  name = "a"\n}': (
        "It looks like Terraform's language: import the output of terraform show -json"
    ),
}


@pytest.mark.parametrize("data", HINTS)
def test_source_of_another_tool_names_the_remedy(data: bytes) -> None:
    assert source_hint(data).startswith(HINTS[data])


@pytest.mark.parametrize("data", [b"", b"resource", b"name: a\n", b"\xff\xfe\x00", b"{"])
def test_other_bytes_have_no_hint(data: bytes) -> None:
    assert source_hint(data) == ""
