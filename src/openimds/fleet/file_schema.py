"""The JSON Schema of a fleet file, made from the rows that its readers walk.

Editors complete and check a file by it while it is written. It says the names, types and bounds of
single values; what holds between values, such as an address that two VMs claim, only
`fleet_files` knows. So a file that fits may still be refused; one that is read always fits.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

from openimds.facts.fault_parameters import FaultParameter
from openimds.facts.faults import EFFECTS, RESPONSE
from openimds.facts.fields import FieldKind
from openimds.facts.playbooks import PLAYBOOKS
from openimds.fleet.fault_bodies import BODY_FILE
from openimds.parameters import MOST_ITEMS, Parameter, camel_case
from openimds.protocol.events.schedule import MOST_LINES, SCENARIO
from openimds.protocol.faults.input import MOST_FAULTS, effect_rows, parameter_of, playbook_rows
from openimds.vm.fleet_file import OF_ONE_VM, VARIED
from openimds.vm.names import NAME_PATTERN
from openimds.vm.schema import fleet_tree, vm_tree
from openimds.vm.schema_tree import Group, Leaf, Many, Named, Node
from openimds.vm.tags import FORMS
from openimds.vm.validate import LARGEST_NUMBER, is_nullable

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Schema = {"type": "string"}
_PAIR = {"type": "object", "properties": {"name": _TEXT, "value": _TEXT}}
_TAGS: Schema = {
    "description": "Tags: name: value, a list of {name, value}, or a string name:value;name:value.",
    "anyOf": [
        {"type": "object", "additionalProperties": _TEXT},
        {"type": "array", "items": {**_PAIR, "type": ["object", "null"]}},
        _TEXT,
    ],
}
_ABOUT_VMS = "The VMs by name. Everything of a VM may be left out: it has a default."
_ABOUT_DEFAULTS = "Values of every VM that has none of its own."
_VARIED = {"const": VARIED, "description": "Addresses that differ in kind, as on Azure."}
_FILE_OF_BODY: Schema = {
    "type": ["string", "null"],
    "description": "A file with the body, beside the fleet file, in the place of body.",
}
_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    tuple: "array",
}


def file_schema() -> Schema:
    """Return the schema of a fleet file; `$defs` has that of a VM."""
    cloud = _of_node(fleet_tree().members["cloud"])
    vm = _of_node(vm_tree())
    defaults: Schema = {
        "type": ["object", "null"],
        "description": _ABOUT_DEFAULTS,
        "properties": {
            name: {"$ref": f"#/$defs/vm/properties/{name}"}
            for name in vm_tree().members
            if name not in OF_ONE_VM
        },
        "additionalProperties": False,
    }
    network = defaults["properties"]["network"]
    defaults["properties"]["network"] = {"anyOf": [network, _VARIED]}
    vms: Schema = {
        "type": "object",
        "description": _ABOUT_VMS,
        "minProperties": 1,
        "propertyNames": {"pattern": f"^(?:{NAME_PATTERN})$"},
        "additionalProperties": {"$ref": "#/$defs/vm"},
    }
    return {
        "$schema": DIALECT,
        "title": "Fleet file of OpenIMDS",
        "type": "object",
        "properties": {
            "cloud": cloud,
            "defaults": defaults,
            "vms": vms,
            "events": _listed("event", MOST_LINES),
            "faults": _listed("fault", MOST_FAULTS),
        },
        "required": ["vms"],
        "additionalProperties": False,
        "$defs": {"vm": vm, "event": _of_rows(SCENARIO), "fault": {"oneOf": [*_faults()]}},
    }


def _listed(kind: str, most: int) -> Schema:
    return {
        "type": ["array", "null"],
        "items": {"$ref": f"#/$defs/{kind}"},
        "maxItems": most,
    }


def _of_node(node: Node) -> Schema:
    """Return the schema of a node; a null group has no members."""
    match node:
        case Leaf():
            return _of_leaf(node)
        case Many(item=item):
            kinds = ["array", "null"] if is_nullable(node) else "array"
            return {"type": kinds, "items": _of_node(item)}
        case Named(item=item):
            return {"type": ["object", "null"], "additionalProperties": _of_node(item)}
        case Group(members=members):
            properties = {name: _of_node(member) for name, member in members.items()}
            if node.path == "compute":
                properties |= dict.fromkeys(FORMS, _TAGS)
                properties["tagsList"] = {"anyOf": [*_TAGS["anyOf"], {"type": "null"}]}
            if node.wrapper:
                inner = {"type": ["object", "null"], "properties": dict(properties)}
                properties[node.wrapper] = {**inner, "additionalProperties": False}
            return {
                "type": ["object", "null"],
                "properties": properties,
                "additionalProperties": False,
            }
        case _:  # A plain value is any value.
            return {}


def _of_leaf(leaf: Leaf) -> Schema:
    schema: Schema = {"type": leaf.kind.value}
    if leaf.kind is FieldKind.NUMBER:
        schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_NUMBER}
    if leaf.choices:
        schema["enum"] = [*leaf.choices]
    if leaf.row and leaf.row.sample:
        schema["examples"] = [leaf.row.sample]
    return schema


def _faults() -> Iterable[Schema]:
    """Yield the schema of a fault of each effect, and of each playbook."""
    for effect in EFFECTS:
        fault = _fault("effect", effect, effect_rows(effect))
        if effect == RESPONSE:
            for spelling in (BODY_FILE, camel_case(BODY_FILE)):
                fault["properties"][spelling] = _FILE_OF_BODY
        yield fault
    for playbook in PLAYBOOKS:
        yield _fault("playbook", playbook, playbook_rows(playbook))


def _fault(key: str, name: str, rows: Iterable[FaultParameter]) -> Schema:
    schema = _of_rows(map(parameter_of, rows))
    schema["properties"][key] = {"const": name, "description": f"The {key}."}
    return schema


def _of_rows(rows: Iterable[Parameter]) -> Schema:
    """Return the schema of an object with these members, in both spellings of a name."""
    properties: Schema = {}
    required = []
    for row in rows:
        schema = _of_row(row)
        properties[camel_case(row.name)] = schema
        if row.name not in properties:
            properties[row.name] = {**schema, "deprecated": True}
        if row.required:
            required.append(row.name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _of_row(row: Parameter) -> Schema:
    kind = _TYPES[row.type]
    kinds = [kind, "integer"] if row.takes_whole else [kind]
    schema: Schema = {"description": row.help}
    if row.choices:
        schema["enum"] = [*row.choices, *([] if row.required else [None])]
        return schema
    schema["type"] = kinds if row.required else [*kinds, "null"]
    if kind == "array":
        schema |= {"items": _TEXT, **_between("Items", row.minimum, row.maximum or MOST_ITEMS)}
    elif kind == "string":
        schema |= _between("Length", row.minimum, row.maximum)
    else:
        schema |= _between("imum", row.minimum, row.maximum)
    return schema


def _between(what: str, low: float | None, high: float | None) -> Schema:
    """Return the bounds of a number (`imum`), a length or a count."""
    bounds = {f"min{what}": low, f"max{what}": high}
    return {
        name: int(bound) if what != "imum" else bound
        for name, bound in bounds.items()
        if bound is not None
    }
