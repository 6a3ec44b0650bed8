"""A value is validated along a tree, or refused with its path."""

from datetime import date

import pytest

from openimds.facts.fields import FieldKind
from openimds.vm.schema_tree import Group, Leaf, Many, Named
from openimds.vm.validate import Leniency, validate
from tests.unit.vm.refused import Refused, refused

MACHINE = Group(
    "",
    {
        "name": Leaf("name"),
        "isOn": Leaf("isOn", FieldKind.BOOLEAN),
        "port": Leaf("port", FieldKind.NUMBER),
        "cloud": Leaf("cloud", choices=("AzurePublicCloud", "AzureChinaCloud")),
        "disks": Many("disks", Group("disks[]", {"lun": Leaf("disks[].lun")})),
        "tags": Named("tags", Leaf("tags")),
    },
)
MEMBERS = "one of name, isOn, port, cloud, disks, tags"
MAPPING = "a mapping of names to values"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"name": "web-1", "isOn": False, "port": 0, "cloud": "AzureChinaCloud"},
        {"disks": [], "tags": {}},
        {"disks": [{"lun": "0"}, {}], "tags": {"any name": "prod", "": ""}},
    ],
)
def test_a_fitting_value_comes_back_unchanged(value: object) -> None:
    assert validate(value, MACHINE, "") == value


def test_null_is_an_empty_object() -> None:
    assert validate(None, MACHINE, "vms.web-1") == {}
    assert validate({"tags": None, "disks": [None]}, MACHINE, "") == {"tags": {}, "disks": [{}]}


@pytest.mark.parametrize(
    "value,expected",
    [
        ([], Refused("vm", "a list of 0", MAPPING)),
        ("web-1", Refused("vm", 'the string "web-1"', MAPPING)),
        ({"name": None}, Refused("vm.name", "nothing (null)", "a string")),
        (
            {"name": 1},
            Refused("vm.name", "the number 1", "a string", "Put it in quotes"),
        ),
        (
            {"name": 1.5},
            Refused("vm.name", "the number 1.5", "a string", "Put it in quotes"),
        ),
        (
            {"name": True},
            Refused("vm.name", "the boolean true", "a string", "Put it in quotes"),
        ),
        ({"name": {"a": "b"}}, Refused("vm.name", "a mapping with a", "a string")),
        ({"name": ["a"]}, Refused("vm.name", "a list of 1", "a string")),
        (
            {"name": date(2025, 1, 1)},
            Refused("vm.name", "a value of type date", "a string", "Put it in quotes"),
        ),
        ({"isOn": "yes"}, Refused("vm.isOn", 'the string "yes"', "true or false")),
        ({"isOn": 1}, Refused("vm.isOn", "the number 1", "true or false")),
        ({"isOn": None}, Refused("vm.isOn", "nothing (null)", "true or false")),
        ({"port": "80"}, Refused("vm.port", 'the string "80"', "a whole number from 0 to 65535")),
        ({"port": 80.0}, Refused("vm.port", "the number 80.0", "a whole number from 0 to 65535")),
        ({"port": True}, Refused("vm.port", "the boolean true", "a whole number from 0 to 65535")),
        (
            {"cloud": "azurechinacloud"},
            Refused(
                "vm.cloud",
                'the string "azurechinacloud"',
                "one of AzurePublicCloud, AzureChinaCloud",
                'Did you mean "AzureChinaCloud"?',
            ),
        ),
        (
            {"cloud": "moon"},
            Refused("vm.cloud", 'the string "moon"', "one of AzurePublicCloud, AzureChinaCloud"),
        ),
        ({"disks": {"lun": "0"}}, Refused("vm.disks", "a mapping with lun", "a list")),
        ({"disks": None}, Refused("vm.disks", "nothing (null)", "a list")),
        (
            {"disks": [{}, {"lun": 1}]},
            Refused("vm.disks[1].lun", "the number 1", "a string", "Put it in quotes"),
        ),
        ({"disks": ["0"]}, Refused("vm.disks[0]", 'the string "0"', MAPPING)),
        (
            {"disks": [{"lum": "0"}]},
            Refused("vm.disks[0]", 'unknown key "lum"', "one of lun", 'Did you mean "lun"?'),
        ),
        ({"tags": "a:b"}, Refused("vm.tags", 'the string "a:b"', MAPPING)),
        (
            {"tags": {"env": 1}},
            Refused("vm.tags.env", "the number 1", "a string", "Put it in quotes"),
        ),
        (
            {"tags": {1: "a"}},
            Refused("vm.tags", "the key the number 1", "a string", "Put it in quotes"),
        ),
        (
            {True: "a"},
            Refused("vm", "the key the boolean true", "a string", "Put it in quotes"),
        ),
        ({"NAME": "a"}, Refused("vm", 'unknown key "NAME"', MEMBERS, 'Did you mean "name"?')),
        ({"prot": 1}, Refused("vm", 'unknown key "prot"', MEMBERS, 'Did you mean "port"?')),
        ({"xyz": 1}, Refused("vm", 'unknown key "xyz"', MEMBERS)),
    ],
    ids=str,
)
def test_a_misfit_is_refused(value: object, expected: Refused) -> None:
    assert refused(validate, value, MACHINE, "vm") == expected


@pytest.mark.parametrize(
    "value,where", [({"disk": []}, "top level"), ([], "top level"), ({"isOn": 1}, "isOn")]
)
def test_at_the_top_the_path_has_no_dot_in_front(value: object, where: str) -> None:
    assert refused(validate, value, MACHINE, "").where == where


def test_a_captured_name_may_be_in_any_letter_case() -> None:
    lenient = Leniency([])
    assert validate({"NAME": "a", "isON": True}, MACHINE, "", lenient) == {
        "name": "a",
        "isOn": True,
    }
    assert lenient.set_aside == []


def test_unknown_members_of_a_capture_are_set_aside() -> None:
    lenient = Leniency([])
    value = {"new": {"a": 1}, "disks": [{}, {"lun": "1", "size": 4}], "tags": {"a": "b"}}
    assert validate(value, MACHINE, "", lenient) == {
        "disks": [{}, {"lun": "1"}],
        "tags": {"a": "b"},
    }
    assert lenient.set_aside == ["new", "disks[1].size"]


def test_a_captured_value_must_have_its_type() -> None:
    assert refused(validate, {"Port": "80"}, MACHINE, "", Leniency([])) == Refused(
        "Port", 'the string "80"', "a whole number from 0 to 65535"
    )


def test_a_number_too_long_to_write_is_described() -> None:
    """YAML and TOML can say it in base 16."""
    assert refused(validate, {"name": 16**5000}, MACHINE, "vm").where == "vm.name"
