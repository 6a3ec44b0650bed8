"""The JSON Schema of fleet files takes each file that is read."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from openimds.errors import ConfigError
from openimds.facts.fault_parameters import FaultParameter
from openimds.facts.faults import EFFECTS
from openimds.facts.playbooks import PLAYBOOKS
from openimds.fleet.file_schema import file_schema
from openimds.fleet.fleet_files import fleet_contents
from openimds.parameters import camel_case
from openimds.protocol.events.schedule import SCENARIO
from openimds.protocol.faults.input import effect_rows, playbook_rows
from openimds.vm.decode import decode
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Group, Many, Named, Node
from scripts.generate_docs import ROOT

SCHEMA = file_schema()
FITS = jsonschema_rs.Draft202012Validator(SCHEMA).is_valid
VALUES: tuple[object, ...] = (None, True, 7, -1, 1.5, "x", [], {}, "a:b", "10.0.0.9")
BLOCK = re.compile(r"```(yaml|json|toml)\n(.*?)```", re.DOTALL)
KEYS = {"cloud", "defaults", "vms", "events", "faults"}


def is_read(value: object) -> bool:
    try:
        fleet_contents(value)
    except ConfigError:
        return False
    return True


def places(node: Node, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each place in a VM; a list has one item."""
    yield path
    match node:
        case Group():
            for name, member in node.members.items():
                yield from places(member, *path, name)
        case Many():
            yield from places(node.item, *path, 0)
        case Named():
            yield from places(node.item, *path, "a")


def with_value(value: object, path: tuple[str | int, ...]) -> Any:
    for key in reversed(path):
        value = [value] if key == 0 else {key: value}
    return value


def member_values(rows: Any) -> Iterator[dict[str, object]]:
    """Yield members with one value each, in both spellings, right ones and wrong ones."""
    for row in rows:
        for name in {row.name, camel_case(row.name)}:
            for value in (*row.choices[:1], *VALUES, ["a"], [7], row.default):
                yield {name: value}


@pytest.mark.parametrize("path", [*places(vm_tree())], ids=lambda path: ".".join(map(str, path)))
def test_vm_that_is_read_fits_the_schema(path: tuple[str | int, ...]) -> None:
    for value in VALUES:
        vm = with_value(value, path)
        file = {"vms": {"a": vm, "b": {}}}
        assert FITS(file) or not is_read(file), value
        defaults = {"defaults": vm, "vms": {"a": {}}}
        assert FITS(defaults) or not is_read(defaults), value


@pytest.mark.parametrize(
    "key, name", [("effect", one) for one in EFFECTS] + [("playbook", one) for one in PLAYBOOKS]
)
def test_fault_that_is_read_fits_the_schema(key: str, name: str) -> None:
    rows: tuple[FaultParameter, ...] = (effect_rows if key == "effect" else playbook_rows)(name)
    count = 0
    for members in member_values(rows):
        file = {"vms": {"a": {}}, "faults": [{key: name, **members}]}
        count += is_read(file)
        assert FITS(file) or not is_read(file), members
    wrong = {"vms": {"a": {}}, "faults": [{key: name, "unheard": 1}]}
    assert not FITS(wrong)
    assert count or any(row.required and row.name != key for row in rows)


def test_event_that_is_read_fits_the_schema() -> None:
    for members in member_values(SCENARIO):
        file = {"vms": {"a": {}}, "events": [{"type": "Reboot", "vms": ["a"], **members}]}
        assert FITS(file) or not is_read(file), members


def test_required_members_have_one_spelling() -> None:
    needed = {name for one in SCHEMA["$defs"]["fault"]["oneOf"] for name in one["required"]}
    needed |= {*SCHEMA["$defs"]["event"]["required"]}
    assert "type" in needed
    assert {name for name in needed if "_" in name} == set()


def test_fleet_files_of_the_pages_fit_the_schema() -> None:
    files = []
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for kind, text in BLOCK.findall(page.read_text("utf-8")):
            try:
                value = decode(text.encode(), f"x.{kind}")
            except ConfigError:
                continue
            if isinstance(value, dict) and "vms" in value and KEYS.issuperset(value):
                files.append(value)
    read = [file for file in files if is_read(file)]
    assert len(read) > 10
    assert [file for file in read if not FITS(file)] == []


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"vms": {}},
        {"vms": {"a": {"compute": {"vmsize": "x"}}}},
        {"vms": {"a/b": {}}},
        {"vms": {"a": {}}, "cloud": "AzureCloud"},
        {"vms": {"a": {}}, "defaults": {"reach": {}}},
        {"vms": {"a": {}}, "defaults": {"network": "vary"}},
        {"vms": {"a": {}}, "events": [{"type": "Reboots", "vms": ["a"]}]},
        {"vms": {"a": {}}, "faults": [{"effect": "delays"}]},
        {"vms": {"a": {}}, "faults": [{"effect": "delay", "playbook": "service-update"}]},
        {"vms": {"a": {}}, "more": 1},
    ],
    ids=json.dumps,
)
def test_mistake_does_not_fit_the_schema(file: object) -> None:
    assert not is_read(file)
    assert not FITS(file)


def test_editor_completes_names_and_their_choices() -> None:
    vm = SCHEMA["$defs"]["vm"]["properties"]
    assert vm["compute"]["properties"]["vmSize"]["examples"]
    assert "AzureChinaCloud" in vm["cloud"]["enum"]
    assert SCHEMA["$defs"]["event"]["properties"]["everyS"]["description"]
    assert SCHEMA["$defs"]["event"]["properties"]["every_s"]["deprecated"]
