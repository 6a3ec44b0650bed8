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


def test_what_was_said_is_tied_in_one_form_and_order() -> None:
    reach = {
        "address": ["10.0.0.4", "FE80::0:4%eth0"],
        "interface": "tap-b",
        "mac": "00-0D-3A-0A-0B-0C",
    }
    found = bindings(
        fleet_of(
            b={"reach": reach},
            c={},
            a={"reach": {**reach, "address": ["::1"], "interface": "tap-a"}},
        )
    )
    mac = "00:0d:3a:0a:0b:0c"
    assert found == [
        InterfaceBinding("a", "tap-a", mac, ("::1",)),
        InterfaceBinding("b", "tap-b", mac, ("10.0.0.4", "fe80::4")),
    ]
    assert found[1].of(4) == ("10.0.0.4",)
    assert found[1].of(6) == ("fe80::4",)


def test_the_document_says_what_reach_does_not() -> None:
    nic = {
        "macAddress": "002248010203",
        "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.9"}, {"privateIpAddress": "X.X.X.X"}]},
    }
    said = {"network": {"interface": [nic]}, "reach": {"interface": "tap0"}}
    assert bindings(fleet_of(a=said)) == [
        InterfaceBinding("a", "tap0", "00:22:48:01:02:03", ("10.0.0.9",))
    ]


def test_a_vm_of_which_nothing_is_said_is_tied_to_its_defaults() -> None:
    one = parse_vm("a", {"reach": {"interface": "tap0"}})
    document = complete(one)
    mac = document["network"]["interface"][0]["macAddress"].lower()  # type: ignore[index]
    (tie,) = bindings([one])
    assert tie.addresses == (default_address(one),)
    assert tie.mac.replace(":", "") == mac


@pytest.mark.parametrize(
    "address, said",
    [
        ([], "no address, expected the source addresses of a VM that says its interface"),
        (["10.0.0.x"], '"10.0.0.x", expected an IPv4 or IPv6 address'),
    ],
)
def test_addresses_that_cannot_be_tied(address: list[str], said: str) -> None:
    error = refused(*fleet_of(a={"reach": {"address": address, "interface": "tap0"}}))
    assert error == f"vms.a.reach.address: saw {said}"


def test_a_hardware_address_of_a_document_may_be_none() -> None:
    nic = {"network": {"interface": [{"macAddress": "unknown"}]}}
    assert refused(*fleet_of(a={**nic, "reach": {"interface": "tap0"}})) == (
        'vms.a.network.interface[0].macAddress: saw "unknown", expected a hardware address: 12 '
        "hexadecimal digits. Write reach.mac"
    )


@pytest.mark.parametrize(
    "other, said",
    [
        (
            {"interface": "tap0", "address": ["10.0.0.5"]},
            "vms.b.reach.interface: saw tap0, which is also that of a, expected one VM to each",
        ),
        (
            {"interface": "tap1", "address": ["10.0.0.4"]},
            "vms.b.reach.address: saw 10.0.0.4, which is also that of a, expected one VM to each",
        ),
    ],
    ids=["interface", "address"],
)
def test_two_vms_share_neither_interface_nor_address(other: dict[str, object], said: str) -> None:
    first = {"interface": "tap0", "address": ["10.0.0.4"]}
    assert refused(*fleet_of(a={"reach": first}, b={"reach": other})) == said
