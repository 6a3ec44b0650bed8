"""Detection of the tool that wrote a value, by the shape of the value."""

from collections.abc import Callable

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers import arm_objects, arm_template, terraform_state
from openimds.interop.importers.assemble import ImportedVm, assemble
from openimds.interop.transcript.file import looks_like_transcript
from openimds.interop.transcript.to_vm import captured_vm
from openimds.parameters import describe
from openimds.vm.fleet_file import parse_vm
from openimds.vm.serialize import vm_to_value

_UNNAMED = "vm-1"


class Shape(Struct, frozen=True):
    """One kind of input: its name for people, its test, its reader."""

    title: str
    fits: Callable[[object], bool]
    read: Callable[[object], tuple[ImportedVm, ...]]


def read(value: object) -> tuple[ImportedVm, ...]:
    """Return the VMs in a decoded JSON value of another tool, in its order.

    Raises:
        ConfigError: the value has no known shape, no VM, or a part that cannot be read.
    """
    for shape in SHAPES:
        if shape.fits(value):
            if found := shape.read(value):
                return found
            break
    expected = "a VM in one of: " + ", ".join(shape.title for shape in SHAPES)
    raise ConfigError("top level", describe(value), expected)


def _is_captured(value: object) -> bool:
    """Tell whether a value has the members of a document, as mappings."""
    members = value.items() if isinstance(value, dict) else ()
    documents = {str(name).lower(): member for name, member in members}
    network = documents.get("network")
    interfaces = {str(name).lower() for name in network} if isinstance(network, dict) else set()
    return isinstance(documents.get("compute"), dict) or "interface" in interfaces


def _read_captured(value: object) -> tuple[ImportedVm, ...]:
    found = captured_vm(value, _UNNAMED)
    name, document = found.vm.name, vm_to_value(found.vm)
    parse_vm(name, document)
    return (ImportedVm(name, document, found.set_aside),)


def _read_template(value: object) -> tuple[ImportedVm, ...]:
    resources, used = arm_template.resources(value)
    return assemble(value, resources, used, arm_template.inner_part)


def _read_shown(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, *terraform_state.shown_resources(value))


def _read_stored(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, *terraform_state.stored_resources(value))


def _read_printed(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, arm_objects.resources(value), set())


SHAPES: tuple[Shape, ...] = (
    Shape("a file of openimds capture", looks_like_transcript, _read_captured),
    Shape("a captured body of /metadata/instance", _is_captured, _read_captured),
    Shape("an ARM template (az group export)", arm_template.is_template, _read_template),
    Shape("terraform show -json", terraform_state.is_shown, _read_shown),
    Shape("a Terraform state file", terraform_state.is_stored, _read_stored),
    Shape(
        "az vm show or az vm list, -d or with az network nic show beside it",
        lambda value: isinstance(value, dict | list),
        _read_printed,
    ),
)
"""Tried in this order; the last accepts any value that holds resources."""
