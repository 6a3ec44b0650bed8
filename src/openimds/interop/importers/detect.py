"""Detection of the tool that wrote a value, by the shape of the value."""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.importers import (
    arm_objects,
    arm_template,
    domain_xml,
    proxmox,
    terraform_state,
)
from openimds.interop.importers.arm_deployment import Deployment
from openimds.interop.importers.assemble import ImportedVm, assemble
from openimds.interop.importers.unmapped import written
from openimds.interop.transcript.dumps import dumped_document
from openimds.interop.transcript.file import looks_like_transcript
from openimds.interop.transcript.to_vm import captured_vm
from openimds.parameters import describe
from openimds.vm.fleet_file import parse_vm
from openimds.vm.serialize import vm_to_value

_UNNAMED = "vm-1"
_ELSEWHERE = Deployment()


class Shape(Struct, frozen=True):
    """One kind of input.

    Attributes:
        title: its name for people.
        lacks: the part with a VM that an input of this kind must have.
        marks: names that such an input has near its top, in lower case.
        fits: tells whether a value is of this kind.
        read: returns the VMs of such a value.
    """

    title: str
    lacks: str
    marks: frozenset[str]
    fits: Callable[[object], bool]
    read: Callable[[object], tuple[ImportedVm, ...]]


def read(value: object, deployment: Deployment = _ELSEWHERE) -> tuple[ImportedVm, ...]:
    """Return the VMs in a decoded JSON value of another tool, in its order.

    `deployment` is the place of an ARM template's deployment.

    Raises:
        ConfigError: the value has no known shape, no VM, or a part that cannot be read.
    """
    return read_files({"": value}, deployment)


def read_files(
    files: Mapping[str, object], deployment: Deployment = _ELSEWHERE
) -> tuple[ImportedVm, ...]:
    """Return the VMs of several files, by the names of the files.

    Parameter files belong to the templates beside them. The objects of `az` in several files belong
    together: a VM and its interfaces. Every other file stands alone.

    Raises:
        ConfigError: as `read`; and two VMs have one name.
    """
    given_files = {
        name: value for name, value in files.items() if arm_template.is_parameter_file(value)
    }
    given = arm_template.given_parameters(given_files)
    rest = {name: value for name, value in files.items() if name not in given_files}
    printed = {name: value for name, value in rest.items() if _shape(value) is PRINTED}
    vms: list[tuple[str, ImportedVm]] = []
    if len(printed) > 1:
        joined, name = [*printed.values()], ", ".join(printed)
        vms += [(name, vm) for vm in _read_one(name, joined, {}, deployment)]
    for name, value in rest.items():
        if name not in printed or len(printed) == 1:
            vms += [(name, vm) for vm in _read_one(name, value, given, deployment)]
    if not vms:
        name, value = next(iter(files.items()))
        raise ConfigError(
            name or "top level",
            "values of parameters alone" if given_files else describe(value),
            "an ARM template beside them",
        )
    owners: dict[str, str] = {}
    for name, vm in vms:
        if vm.name in owners:
            seen = f'a second VM with the name "{vm.name}"'
            raise ConfigError(
                name, seen, "a name of its own for each VM", f"The first is in {owners[vm.name]}"
            )
        owners[vm.name] = name
    return tuple(vm for _, vm in vms)


def _read_one(
    file: str, value: object, given: Mapping[str, object], deployment: Deployment
) -> tuple[ImportedVm, ...]:
    shape = _shape(value)
    try:
        if shape is TEMPLATE:
            vms = _read_template(value, given, deployment)
        else:
            vms = shape.read(value) if shape else ()
        if not vms:
            raise _no_vm(value, shape)
    except ConfigError as error:
        raise error.inside(file) from None
    return vms


def _shape(value: object) -> Shape | None:
    return next((shape for shape in SHAPES if shape.fits(value)), None)


def _no_vm(value: object, shape: Shape | None) -> ConfigError:
    """Return the refusal of a value without a VM.

    It names the contents, and the nearest kind of file.
    """
    names = frozenset(_names(value))
    kinds = _resource_types(value)
    is_azure = any(kind.lower().startswith("microsoft.") for kind in kinds)
    if shape and (is_azure or shape.marks & names):
        contents = "resources of type " + ", ".join(kinds) if kinds else "no resources"
        return ConfigError("top level", f"{shape.title} with {contents}", shape.lacks)
    likeness = {near.title: len(near.marks & names) for near in SHAPES}
    nearest = max(SHAPES, key=lambda near: likeness[near.title])
    if not likeness[nearest.title]:
        nearest = PRINTED
    hint = f"The nearest kind of file is {nearest.title}" if likeness[nearest.title] else ""
    # The beginning of a text may be anything: it is not shown.
    seen = "a text" if isinstance(value, str) else describe(value)
    return ConfigError("top level", seen, nearest.lacks, hint)


def _names(value: object, depth: int = 2) -> Iterable[str]:
    """Yield the names of members near the top of a value, in lower case."""
    if isinstance(value, list):
        for item in value[:_FEW]:
            yield from _names(item, depth)
    elif isinstance(value, dict):
        for name, member in value.items():
            yield str(name).lower()
            if depth:
                yield from _names(member, depth - 1)


def _resource_types(value: object) -> list[str]:
    """Return the first types of a value's resources."""
    kinds: list[str] = []
    pending = [value]
    for _ in range(_MOST_LOOKED_AT):
        if not pending or len(kinds) == _FEW:
            break
        item = pending.pop(0)
        if isinstance(item, dict):
            kind = item.get("type")
            if isinstance(kind, str) and ("/" in kind or "_" in kind) and kind not in kinds:
                kinds.append(kind)
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return kinds


_FEW = 5
_MOST_LOOKED_AT = 10_000


def _is_captured(value: object) -> bool:
    """Tell whether a value is an instance document, or a dump with one."""
    if dumped_document(value):
        return True
    members = value.items() if isinstance(value, dict) else ()
    documents = {str(name).lower(): member for name, member in members}
    network = documents.get("network")
    interfaces = {str(name).lower() for name in network} if isinstance(network, dict) else set()
    return isinstance(documents.get("compute"), dict) or "interface" in interfaces


def _read_captured(value: object) -> tuple[ImportedVm, ...]:
    found = captured_vm(value, _UNNAMED)
    name, document = found.vm.name, vm_to_value(found.vm)
    parse_vm(name, document)
    unread = tuple((path, "", "the file hides it") for path in found.hidden)
    return (ImportedVm(name, document, found.set_aside, unread),)


def _read_template(
    value: object,
    given: Mapping[str, object] | None = None,
    deployment: Deployment = _ELSEWHERE,
) -> tuple[ImportedVm, ...]:
    found = arm_template.find_resources(value, given or {}, deployment)
    vms = assemble(value, found)
    if not vms and found.unread:
        path, unread = next(iter(found.unread.items()))
        seen = unread.expression or "a value that could not be read"
        raise ConfigError(written(path), seen, "a VM, but this could not be read", unread.reason)
    return vms


def _read_shown(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, terraform_state.shown_resources(value))


def _read_stored(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, terraform_state.stored_resources(value))


def _read_printed(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, arm_objects.find_resources(value))


def _read_domains(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, domain_xml.find_resources(value))


def _read_proxmox(value: object) -> tuple[ImportedVm, ...]:
    return assemble(value, proxmox.find_resources(value))


_TERRAFORM_VM = "a resource such as azurerm_linux_virtual_machine"

TEMPLATE = Shape(
    "an ARM template",
    "a resource of type Microsoft.Compute/virtualMachines",
    frozenset({"$schema", "contentversion", "resources", "languageversion"}),
    arm_template.is_template,
    _read_template,
)
PRINTED = Shape(
    "the output of az vm show",
    "a VM, as az vm show prints it: with hardwareProfile, or of type "
    "Microsoft.Compute/virtualMachines",
    frozenset(
        {
            "hardwareprofile",
            "storageprofile",
            "networkprofile",
            "ipconfigurations",
            "osprofile",
            "provisioningstate",
            "virtualmachines",
            "resourcegroup",
            "vmid",
            "vmsize",
        }
    ),
    lambda value: isinstance(value, dict | list),
    _read_printed,
)
SHAPES: tuple[Shape, ...] = (
    Shape(
        "a file of openimds capture",
        "an answer of /metadata/instance",
        frozenset({"exchanges", "format"}),
        looks_like_transcript,
        _read_captured,
    ),
    Shape(
        "a captured body of /metadata/instance",
        "compute and network",
        frozenset({"compute", "network", "azenvironment", "subscriptionid"}),
        _is_captured,
        _read_captured,
    ),
    TEMPLATE,
    Shape(
        "the output of terraform show -json",
        _TERRAFORM_VM,
        frozenset(
            {"format_version", "values", "planned_values", "root_module", "resource_changes"}
        ),
        terraform_state.is_shown,
        _read_shown,
    ),
    Shape(
        "a Terraform state",
        _TERRAFORM_VM,
        frozenset({"terraform_version", "lineage", "serial"}),
        terraform_state.is_stored,
        _read_stored,
    ),
    Shape(
        "the XML of virsh dumpxml",
        "a <domain> with a name",
        frozenset({"domain", "devices", "uuid"}),
        domain_xml.is_parsed,
        _read_domains,
    ),
    Shape(
        "the output of qm config",
        "a name",
        frozenset({"net0", "smbios1", "vmgenid", "ostype", "scsihw", "digest"}),
        proxmox.is_configuration,
        _read_proxmox,
    ),
    PRINTED,
)
"""Tried in this order; the last accepts any value that holds resources."""
