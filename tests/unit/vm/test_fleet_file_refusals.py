"""Refusals of a fleet file, and their texts."""

from datetime import date

import pytest

from openimds.facts.fields import FieldKind
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.names import NAME_FORM, USER_ASSIGNED_FORM
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Group, Leaf, Many, newest_tree, nodes
from openimds.vm.validate import validate
from tests.unit.vm.refused import Refused, refused

APP = USER_ASSIGNED_FORM.replace("ID/", "s/").replace("GROUP", "g").replace("NAME", "app")
MAPPING = "a mapping of names to values"
LEAVES = [
    node
    for node in nodes(newest_tree())
    if isinstance(node, Leaf) and node.path != "compute.tags"  # Which has three shapes.
]
GROUPS = [node for node in nodes(newest_tree()) if isinstance(node, Group)]


def _at(path: str, value: object) -> object:
    """Return a VM with `value` at a path, through arrays of one element."""
    for name in reversed(path.split(".") if path else []):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    return value


def _where(path: str) -> str:
    return f"vms.web-1.{path}".rstrip(".").replace("[]", "[0]")


@pytest.mark.parametrize(
    "value,expected",
    [
        (None, Refused("top level", "nothing (null)", "a mapping with vms")),
        ([], Refused("top level", "a list of 0", "a mapping with vms")),
        (
            {"vm": {}},
            Refused(
                "top level",
                'unknown key "vm"',
                "one of cloud, defaults, vms, events, faults",
                'Did you mean "vms"?',
            ),
        ),
        (
            {"vms": {"a": {}}, 1: 2},
            Refused("top level", 'unknown key "1"', "one of cloud, defaults, vms, events, faults"),
        ),
        (
            {},
            Refused(
                "vms",
                "nothing (null)",
                "a mapping of VM names to VMs",
                "Write vms: {vm-1: {}}",
            ),
        ),
        (
            {"vms": {}},
            Refused(
                "vms",
                "a mapping with no members",
                "a mapping of VM names to VMs",
                "Write vms: {vm-1: {}}",
            ),
        ),
        (
            {"vms": ["web-1"]},
            Refused("vms", "a list of 1", "a mapping of VM names to VMs", "Write vms: {vm-1: {}}"),
        ),
        ({"vms": {"a": []}}, Refused("vms.a", "a list of 0", MAPPING)),
        ({"vms": {"a": "b"}}, Refused("vms.a", 'the string "b"', MAPPING)),
        ({"defaults": 1, "vms": {"a": {}}}, Refused("defaults", "the number 1", MAPPING)),
        (
            {"vms": {"a": {1: {}}}},
            Refused("vms.a", "the key the number 1", "a string", "Put it in quotes"),
        ),
        (
            {"cloud": "AzureCloud", "vms": {"a": {}}},
            Refused(
                "cloud",
                'the string "AzureCloud"',
                "one of AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, "
                "AzureGermanCloud, AzureStack",
                "That is az's name of it: write AzurePublicCloud",
            ),
        ),
        (
            {"vms": {"a": {"kind": "container"}}},
            Refused(
                "vms.a.kind",
                'the string "container"',
                "one of vm, container-instance, azure-local, cloud-shell",
                'Did you mean "container-instance"?',
            ),
        ),
        (
            {"vms": {"a": {"reprovisionData": "x" * 65537}}},
            Refused("vms.a.reprovisionData", "65537 characters", "XML of at most 65536 characters"),
        ),
        ({"cloud": None, "vms": {"a": {}}}, Refused("cloud", "nothing (null)", "a string")),
    ],
    ids=str,
)
def test_wrong_outer_keys_are_refused(value: object, expected: Refused) -> None:
    assert refused(parse_fleet, value) == expected


@pytest.mark.parametrize(
    "name,seen,hint",
    [
        ("", 'the name the string ""', ""),
        ("a\nb", 'the name the string "a\nb"', ""),
        ("\ud800", 'the name the string "\ud800"', ""),
        ("a/b", 'the name the string "a/b"', ""),
        (" ", 'the name the string " "', ""),
        ("..", 'the name the string ".."', ""),
        ("a ", 'the name the string "a "', ""),
        ("-a", 'the name the string "-a"', ""),
        ("wéb", 'the name the string "wéb"', ""),
        ("x" * 129, f'the name the string "{"x" * 60}…"', ""),
        (1, "the name the number 1", "Put it in quotes"),
        (True, "the name the boolean true", "Put it in quotes"),
        (None, "the name nothing (null)", ""),
        (date(2025, 1, 1), "the name a value of type date", "Put it in quotes"),
    ],
    ids=ascii,
)
def test_a_bad_vm_name_is_refused(name: object, seen: str, hint: str) -> None:
    error = refused(parse_fleet, {"vms": {name: {}}})
    assert error == Refused("vms", seen, NAME_FORM, hint)


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 257, 1])
def test_name_of_no_release_is_refused_in_the_store(name: object) -> None:
    error = refused(lambda: parse_vm(name, {}, is_stored=True))
    assert error.expected == "a printable string without /"


@pytest.mark.parametrize(
    "text",
    [
        "app",
        "/subscriptions/s/x/one",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/a",
        f"{APP}/",
        f" {APP}",
        APP.replace("/g/", "//"),
    ],
)
def test_id_of_no_user_assigned_identity_is_refused(text: str) -> None:
    value = {"identities": {"user": [APP, text]}}
    error = refused(parse_vm, "a", value)
    assert (error.where, error.expected) == ("vms.a.identities.user", USER_ASSIGNED_FORM)
    assert error.seen.startswith(f'the string "{text[:50]}')
    assert parse_vm("a", value, is_stored=True).identities.user == (APP, text)


def test_id_of_a_user_assigned_identity_has_any_letter_case() -> None:
    for text in (APP, APP.upper(), APP.lower()):
        assert parse_vm("a", {"identities": {"user": [text]}}).identities.user == (text,)


@pytest.mark.parametrize("group", GROUPS, ids=lambda node: node.path)
def test_an_unknown_key_is_refused_at_every_level(group: Group) -> None:
    expected = "one of " + ", ".join((group if group.path else vm_tree()).members)
    error = refused(parse_vm, "web-1", _at(group.path, {"zzz": "1"}))
    assert error == Refused(_where(group.path), 'unknown key "zzz"', expected)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda node: node.path)
def test_a_leaf_of_the_document_has_its_type(leaf: Leaf) -> None:
    expected = "true or false" if leaf.kind is FieldKind.BOOLEAN else "a string"
    error = refused(parse_vm, "web-1", _at(leaf.path, []))
    assert error == Refused(_where(leaf.path), "a list of 0", expected)


@pytest.mark.parametrize(
    "value,expected",
    [
        ({"indentities": {}}, 'Did you mean "identities"?'),
        ({"availabilityset": "a"}, 'Did you mean "availabilitySet"?'),
        ({"loadbalancer": {}}, 'Did you mean "loadBalancer"?'),
        ({"compute": {"vmsize": "x"}}, 'Did you mean "vmSize"?'),
        ({"compute": {"storageProfile": {"osdisk": {}}}}, 'Did you mean "osDisk"?'),
        ({"network": {"interfaces": []}}, 'Did you mean "interface"?'),
        ({"network": {"interface": [{"macAdress": "x"}]}}, 'Did you mean "macAddress"?'),
        ({"identities": {"users": []}}, 'Did you mean "user"?'),
        ({"reach": {"adress": []}}, 'Did you mean "address"?'),
        ({"attested": {"plan": {"nam": "x"}}}, 'Did you mean "name"?'),
        ({"loadBalancer": {"inboundRule": []}}, 'Did you mean "inboundRules"?'),
        ({"loadBalancer": {"inboundRules": [{"frontend": 1}]}}, 'Did you mean "frontendPort"?'),
    ],
    ids=str,
)
def test_the_nearest_right_name_is_suggested(value: object, expected: str) -> None:
    assert refused(parse_vm, "web-1", value).hint == expected


@pytest.mark.parametrize(
    "value,expected",
    [
        ({"classic": "yes"}, Refused("classic", 'the string "yes"', "true or false")),
        (
            {"identities": {"system": "true"}},
            Refused("identities.system", 'the string "true"', "true or false"),
        ),
        (
            {"identities": {"user": "x"}},
            Refused("identities.user", 'the string "x"', "a list"),
        ),
        (
            {"availabilitySet": 1},
            Refused("availabilitySet", "the number 1", "a string", "Put it in quotes"),
        ),
        (
            {"reach": {"address": "10.0.0.4"}},
            Refused("reach.address", 'the string "10.0.0.4"', "a list"),
        ),
        (
            {"reach": {"listen": [8080]}},
            Refused("reach.listen[0]", "the number 8080", "a string", "Put it in quotes"),
        ),
        *(
            (
                {"reach": {"interface": name}},
                Refused(
                    "reach.interface",
                    f'the string "{name}"',
                    "the name of an interface, at most 15 letters, digits or _.:@+-",
                ),
            )
            for name in ("", "tap 1", "tap*", 'tap"', "t" * 16, "tap\n", "tap/1")
        ),
        *(
            (
                {"reach": {"interface": "tap-1", "mac": mac}},
                Refused(
                    "reach.mac",
                    f'the string "{mac}"',
                    "a hardware address such as 00:0d:3a:12:34:56",
                ),
            )
            for mac in ("", "00:0d:3a", "00:0d:3a:12:34:5g", "00:0d-3a:12-34:56", "000D3A1234567")
        ),
        (
            {"reach": {"mac": "00:0d:3a:12:34:56"}},
            Refused(
                "reach.mac",
                "a hardware address without an interface",
                "both",
                "Write interface beside it",
            ),
        ),
        (
            {"loadBalancer": {"inboundRules": [{"frontendPort": "80"}]}},
            Refused(
                "loadBalancer.inboundRules[0].frontendPort",
                'the string "80"',
                "a whole number from 0 to 65535",
            ),
        ),
        (
            {"loadBalancer": {"loadbalancer": {"inboundRules": [{"backendPort": 1.5}]}}},
            Refused(
                "loadBalancer.loadbalancer.inboundRules[0].backendPort",
                "the number 1.5",
                "a whole number from 0 to 65535",
            ),
        ),
        (
            {"compute": {"version": date(2025, 1, 1)}},
            Refused("compute.version", "a value of type date", "a string", "Put it in quotes"),
        ),
        (
            {"compute": {"tags": None}},
            Refused(
                "compute.tags",
                "nothing (null)",
                "a mapping, a list of {name, value}, or a string name:value;name:value",
            ),
        ),
        ({"compute": "x"}, Refused("compute", 'the string "x"', MAPPING)),
        ({"loadBalancer": "x"}, Refused("loadBalancer", 'the string "x"', MAPPING)),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(value: object, expected: Refused) -> None:
    inside = expected._replace(where=f"vms.web-1.{expected.where}")
    assert refused(parse_vm, "web-1", value) == inside


def test_a_captured_load_balancer_has_one_outer_member() -> None:
    balancer: dict[str, object] = {"loadbalancer": {}, "inboundRules": []}
    assert refused(parse_vm, "web-1", {"loadBalancer": balancer}).where == "vms.web-1.loadBalancer"


@pytest.mark.parametrize(
    "path,value",
    [
        ("zone", "1\ud800"),
        ("tags", {"\udfff": "a"}),
        ("tags", {"a": "\udfff"}),
        ("tags", "\ud800:"),
    ],
)
def test_half_a_surrogate_pair_is_refused(path: str, value: object) -> None:
    error = refused(parse_vm, "web-1", {"compute": {path: value}})
    assert error.where.startswith(f"vms.web-1.compute.{path}")
    assert error[1:] == ("half of a surrogate pair", "text that UTF-8 can carry", "")


def test_text_beyond_ascii_is_text() -> None:
    value = {"compute": {"zone": "Zürich \U0001f3e0"}}
    assert parse_vm("web-1", value).document == value


def test_every_array_wants_a_list() -> None:
    for node in nodes(vm_tree()):
        if isinstance(node, Many):
            assert refused(validate, "x", node, "here") == Refused(
                "here", 'the string "x"', "a list"
            )
