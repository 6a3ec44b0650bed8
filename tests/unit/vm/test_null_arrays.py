"""Arrays of a document that are null: captured so, kept so, served so."""

from typing import Any

import pytest

from openimds.protocol.document import as_text, descend, plan_at
from openimds.vm.defaults import complete, private_addresses
from openimds.vm.fleet_file import merge, merge_patch, parse_fleet, parse_vm
from openimds.vm.from_capture import parse_capture
from openimds.vm.serialize import vm_to_value
from tests.unit.vm.refused import refused

BODY: dict[str, Any] = {
    "compute": {
        "name": "a",
        "publicKeys": None,
        "storageProfile": {"dataDisks": None},
        "tags": "",
        "tagsList": None,
    },
    "network": {"interface": [{"ipv4": {"ipAddress": None, "subnet": None}}]},
}


def _served(body: dict[str, Any], version: str = "2021-02-01") -> Any:
    return complete(parse_capture(body, "a").vm, plan_at(version))


def test_null_array_of_a_capture_is_served_as_null() -> None:
    seen = _served(BODY)
    compute, (nic,) = seen["compute"], seen["network"]["interface"]
    assert (compute["publicKeys"], compute["storageProfile"]["dataDisks"]) == (None, None)
    assert (compute["tags"], compute["tagsList"]) == ("", None)
    assert (nic["ipv4"]["ipAddress"], nic["ipv4"]["subnet"]) == (None, None)
    assert nic["ipv6"] == {"ipAddress": []}


def test_null_interfaces_are_served_as_null() -> None:
    body = {"compute": {"name": "a"}, "network": {"interface": None}}
    vm = parse_capture(body, "a").vm
    assert complete(vm)["network"] == {"interface": None}
    assert private_addresses(vm) == []


def test_null_addresses_have_no_address() -> None:
    assert private_addresses(parse_capture(BODY, "a").vm) == []


def test_null_array_survives_the_fleet_file() -> None:
    vm = parse_capture(BODY, "a").vm
    assert parse_vm("a", vm_to_value(vm)) == vm


def test_vm_without_keys_takes_passwords() -> None:
    profile = _served(BODY)["compute"]["osProfile"]
    assert profile["disablePasswordAuthentication"] == "false"


def test_tags_beside_a_null_list_make_the_list() -> None:
    compute = _served({"compute": {"tags": "a:b", "tagsList": None}})["compute"]
    assert compute["tagsList"] == [{"name": "a", "value": "b"}]
    assert _served({"compute": {"tagsList": None}})["compute"]["tagsList"] is None


def test_null_list_of_tags_replaces_that_of_the_defaults() -> None:
    value = {"defaults": {"compute": {"tags": {"a": "b"}}}, "vms": {"v": BODY}}
    seen: Any = complete(parse_fleet(value).vms["v"])
    assert seen["compute"]["tagsList"] is None
    assert merge({"tagsList": None, "tags": ""}, {"tags": "a:b", "tagsList": [{}]})["tags"] == "a:b"


def test_patch_of_tags_replaces_a_null_list() -> None:
    patched = merge_patch({"tags": "", "tagsList": None}, {"tags": {"a": "b"}})
    assert patched == {"tags": {"a": "b"}}


@pytest.mark.parametrize("path", ["identities.user", "reach.address", "loadBalancer.inboundRules"])
def test_null_in_place_of_another_array_is_refused(path: str) -> None:
    group, _, name = path.partition(".")
    error = refused(lambda value: parse_vm("a", value), {group: {name: None}})
    assert (error.seen, error.expected) == ("nothing (null)", "a list")


def test_null_has_an_empty_text() -> None:
    node = descend(_served(BODY), ("compute", "publicKeys"))
    assert as_text(node) == b""
    assert descend(_served(BODY), ("compute", "publicKeys", "0")) is not None
