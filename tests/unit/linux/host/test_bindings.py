import pytest

from openimds.errors import ConfigError
from openimds.linux.host.bindings import InterfaceBinding, bindings
from openimds.vm.defaults import complete, default_address
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.types import Vm


def fleet_of(**vms: object) -> list[Vm]:
    return list(parse_fleet({"vms": vms}).vms.values())


def refused(*vms: Vm) -> str:
    with pytest.raises(ConfigError) as caught:
        bindings(vms)
    return str(caught.value)


def test_bindings_are_normalized_and_sorted_by_vm() -> None:
    reach = {
        "address": ["10.0.0.4", "FE80::0:4%eth0"],
        "interface": "tap-b",
        "mac": "00-0D-3A-0A-0B-0C",
    }
    bound = bindings(
        fleet_of(
            b={"reach": reach},
            c={},
            a={"reach": {**reach, "address": ["::1"], "interface": "tap-a"}},
        )
    )
    mac = "00:0d:3a:0a:0b:0c"
    assert bound == [
        InterfaceBinding("a", "tap-a", mac, ("::1",)),
        InterfaceBinding("b", "tap-b", mac, ("10.0.0.4", "fe80::4")),
    ]
    assert bound[1].of(4) == ("10.0.0.4",)
    assert bound[1].of(6) == ("fe80::4",)


def test_binding_takes_missing_values_from_the_document() -> None:
    nic = {
        "macAddress": "002248010203",
        "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.9"}, {"privateIpAddress": "X.X.X.X"}]},
    }
    parts = {"network": {"interface": [nic]}, "reach": {"interface": "tap0"}}
    assert bindings(fleet_of(a=parts)) == [
        InterfaceBinding("a", "tap0", "00:22:48:01:02:03", ("10.0.0.9",))
    ]


def test_binding_without_a_document_takes_the_defaults() -> None:
    vm = parse_vm("a", {"reach": {"interface": "tap0"}})
    document = complete(vm)
    mac = document["network"]["interface"][0]["macAddress"].lower()  # type: ignore[index]
    (binding,) = bindings([vm])
    assert binding.addresses == (default_address(vm),)
    assert binding.mac.replace(":", "") == mac


@pytest.mark.parametrize(
    "address, seen",
    [
        ([], "no address, expected the source addresses of a VM that has an interface"),
        (["10.0.0.x"], '"10.0.0.x", expected an IPv4 or IPv6 address'),
    ],
)
def test_unusable_address_is_refused(address: list[str], seen: str) -> None:
    error = refused(*fleet_of(a={"reach": {"address": address, "interface": "tap0"}}))
    assert error == f"vms.a.reach.address: saw {seen}"


def test_malformed_hardware_address_is_refused() -> None:
    nic = {"network": {"interface": [{"macAddress": "unknown"}]}}
    assert refused(*fleet_of(a={**nic, "reach": {"interface": "tap0"}})) == (
        'vms.a.network.interface[0].macAddress: saw "unknown", expected a hardware address: 12 '
        "hexadecimal digits. Write reach.mac"
    )


@pytest.mark.parametrize(
    "other, message",
    [
        (
            {"interface": "tap0", "address": ["10.0.0.5"]},
            "interface: saw tap0, which is also that of a, expected an interface of this VM alone",
        ),
        (
            {"interface": "tap1", "address": ["10.0.0.4"]},
            "address: saw 10.0.0.4, which is also that of a, expected an address of this VM alone",
        ),
    ],
    ids=["interface", "address"],
)
def test_shared_interface_or_address_is_refused(other: dict[str, object], message: str) -> None:
    first = {"interface": "tap0", "address": ["10.0.0.4"]}
    assert refused(*fleet_of(a={"reach": first}, b={"reach": other})) == f"vms.b.reach.{message}"
