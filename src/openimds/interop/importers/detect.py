"""The way in: which tool wrote a value, told by its looks."""

from collections.abc import Callable

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers import arm_objects, arm_template, terraform_state
from openimds.interop.importers.assemble import ImportedVm, assemble
from openimds.interop.transcript.file import looks
from openimds.interop.transcript.to_vm import captured
from openimds.parameters import describe
from openimds.vm.fleet_file import parse_vm
from openimds.vm.serialize import vm_to_value

_UNNAMED = "vm-1"


class Shape(Struct, frozen=True):
    """One sort of input: its name in words, how it looks, how it is read."""

    words: str
    looks: Callable[[object], bool]
    read: Callable[[object], tuple[ImportedVm, ...]]


def read(value: object) -> tuple[ImportedVm, ...]:
    """Return the VMs that a decoded JSON value of another tool describes, in its order.

    Raises:
        ConfigError: no shape fits, no VM is in there, or something in there cannot be read.
    """
    for shape in SHAPES:
        if shape.looks(value):
            if found := shape.read(value):
                return found
            break
    expected = "a VM in one of: " + ", ".join(shape.words for shape in SHAPES)
    raise ConfigError("top level", describe(value), expected)


def _is_captured(value: object) -> bool:
    """Tell whether a value has the members that a document has, as mappings and not as lists."""
    members = value.items() if isinstance(value, dict) else ()
    documents = {str(name).lower(): one for name, one in members}
    network = documents.get("network")
    interfaces = {str(name).lower() for name in network} if isinstance(network, dict) else set()
    return isinstance(documents.get("compute"), dict) or "interface" in interfaces


def _captured(value: object) -> tuple[ImportedVm, ...]:
    found = captured(value, _UNNAMED)
    name, document = found.vm.name, vm_to_value(found.vm)
    parse_vm(name, document)
    return (ImportedVm(name, document, found.set_aside),)


def _templated(value: object) -> tuple[ImportedVm, ...]:
    pieces, read_already = arm_template.pieces(value)
    return assemble(value, pieces, read_already, arm_template.tail)


def _shown(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, *terraform_state.shown(value))


def _stored(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, *terraform_state.stored(value))


def _printed(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, arm_objects.pieces(value), set())


SHAPES: tuple[Shape, ...] = (
    Shape("what openimds capture wrote", looks, _captured),
    Shape("a captured body of /metadata/instance", _is_captured, _captured),
    Shape("an ARM template (az group export)", arm_template.looks, _templated),
    Shape("terraform show -json", terraform_state.looks_shown, _shown),
    Shape("a Terraform state file", terraform_state.looks_stored, _stored),
    Shape(
        "az vm show or az vm list, -d or with az network nic show beside it",
        lambda value: isinstance(value, dict | list),
        _printed,
    ),
)
"""Tried in this order; the last takes whatever holds resources."""
