from typing import Any

import pytest

from openimds.facts.document import FIELDS
from openimds.facts.versions import GENERAL
from openimds.protocol.document import is_alive, plan_at
from openimds.vm.defaults import complete
from openimds.vm.types import Vm

VERSIONS = [row.name for row in GENERAL]
VM = Vm("web-1")


@pytest.mark.parametrize("version", VERSIONS)
def test_members_are_sorted_at_every_level(version: str) -> None:
    def check(node: object) -> None:
        if isinstance(node, dict):
            assert list(node) == sorted(node)
            for member in node.values():
                check(member)
        elif isinstance(node, list):
            for element in node:
                check(element)

    check(complete(VM, plan_at(version)))


def test_a_classic_vm_has_its_network_only() -> None:
    assert list(complete(VM, plan_at("2021-02-01", is_classic=True))) == ["network"]


def test_extended_is_there_on_request_from_its_version_on() -> None:
    plain = complete(VM, plan_at("2021-08-01"))
    more = complete(VM, plan_at("2021-08-01", is_extended=True))
    older = complete(VM, plan_at("2021-05-01", is_extended=True))
    assert list(plain) == ["compute", "network"]
    assert more == {
        **plain,
        "extended": {"compute": {"hasCustomData": False, "ppsType": "None"}},
    }
    assert list(older) == ["compute", "network"]


def test_a_field_lives_from_its_first_version_to_before_its_end() -> None:
    (row,) = [row for row in FIELDS if row.until]
    assert is_alive(row, "2017-03-01")
    assert not is_alive(row, row.until)


@pytest.mark.parametrize("version", ["2017-03-01", VERSIONS[-1]])
def test_a_document_shares_no_container_with_the_vm(version: str) -> None:
    vm = Vm("web-1", document={"network": {"interface": [{"macAddress": "000D3A00FA89"}]}})
    before = repr(vm)
    document: Any = complete(vm, plan_at(version))
    document["network"]["interface"][0].clear()
    document["network"]["interface"].clear()
    assert repr(vm) == before


def test_nodes_have_their_old_names_in_an_old_version() -> None:
    document: Any = complete(VM, plan_at("2017-03-01"))
    (interface,) = document["network"]["interface"]
    assert list(interface) == ["ipv4", "ipv6", "mac"]
    assert list(interface["ipv4"]["ipaddress"][0]) == ["ipaddress", "publicip"]
