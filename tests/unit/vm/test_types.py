"""A VM is a value that can be encoded and decoded."""

import msgspec.json
import pytest

from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Identities, Reach, Vm


@pytest.mark.parametrize(
    "one",
    [
        Vm("web-1"),
        Vm("web-1", reach=Reach(address=())),
        Vm("web-1", identities=Identities(system=True, user=("a", "b")), classic=True),
        parse_vm(
            "web-1", {"compute": {"tags": {"env": "prod"}}, "loadBalancer": {}, "attested": {}}
        ),
    ],
    ids=lambda one: repr(one.document) + repr(one.reach),
)
def test_an_encoded_vm_is_decoded(one: Vm) -> None:
    assert msgspec.json.decode(msgspec.json.encode(one), type=Vm) == one


def test_a_vm_of_defaults_is_encoded_as_its_name() -> None:
    assert msgspec.json.encode(Vm("web-1")) == b'{"name":"web-1"}'


def test_a_vm_is_never_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        Vm("web-1").name = "web-2"  # type: ignore[misc]


def test_two_vms_do_not_share_a_document() -> None:
    Vm("web-1").document["compute"] = {}
    assert Vm("web-2").document == {}
