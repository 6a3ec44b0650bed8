"""Members of a VM for an instance: derived, of the template, of the annotation."""

import hashlib
import re
from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.kubevirt.instance import Instance
from openimds.parameters import nearest
from openimds.vm.decode import decode
from openimds.vm.defaults import text_at
from openimds.vm.fleet_file import merge_patch, parse_vm
from openimds.vm.serialize import encode_vm

MARK = "openimds-kubevirt"
"""The tag of a VM that was made for an instance; its value is a `VmMark`."""
ANNOTATION = "openimds/vm"
"""The annotation of an instance with members of its VM, as YAML or JSON."""
ANNOTATION_CHARACTERS = 16_384
"""The longest annotation that is read. Kubernetes takes 256 KiB for all of an object."""
_OF_THE_WATCHER = ("reach", "host", "nextHost")
_PARTS = ("defaults", "namespaces")
_OF_ONE_VM = (
    ("compute", "name"),
    ("compute", "vmId"),
    ("compute", "resourceId"),
    ("attested", "vmId"),
)
"""Members that no two VMs may share, so that no template has them."""
_DIGITS = 16
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class VmMark(Struct, frozen=True):
    """Digests of the definition, of the network cards, and of the name of the node."""

    definition: str
    network: str
    node: str

    @property
    def text(self) -> str:
        """The value of the tag."""
        return f"{self.definition}-{self.network}-{self.node}"

    @classmethod
    def read(cls, text: str) -> "VmMark":
        """Return the mark of a value; one that was made otherwise is of no node."""
        definition, _, rest = text.partition("-")
        network, _, node = rest.partition("-")
        return cls(definition, network, node)


class InstanceTemplate(Struct, frozen=True):
    """Members of VMs that an operator gives: for all, and for those of a namespace."""

    defaults: dict[str, Any] = {}
    namespaces: dict[str, dict[str, Any]] = {}


class WantedVm(Struct, frozen=True):
    """A VM that is wanted: its members with the mark, without `reach`.

    `claims` are the members that no other VM may have, and their values in small letters.
    """

    name: str
    members: dict[str, Any]
    mark: VmMark
    listen: tuple[str, ...]
    claims: tuple[tuple[str, str], ...] = ()


def read_template(data: bytes, file_name: str) -> InstanceTemplate:
    """Return the template in a file: `defaults`, and `namespaces` by name.

    Raises:
        ConfigError: the text, a key or a value does not fit; the error names the file.
    """
    value = decode(data, file_name)
    if not isinstance(value, dict):
        raise ConfigError(file_name, type(value).__name__, "defaults and namespaces")
    for key in value:
        if key not in _PARTS:
            hint = nearest(str(key), _PARTS)
            raise ConfigError(f"{file_name}: {key}", "an unknown key", " or ".join(_PARTS), hint)
    defaults = value.get("defaults") or {}
    namespaces = value.get("namespaces") or {}
    if not isinstance(namespaces, dict):
        raise ConfigError(f"{file_name}: namespaces", "no mapping", "members of VMs by namespace")
    fragments = {"defaults": defaults}
    fragments |= {f"namespaces.{name}": of_one or {} for name, of_one in namespaces.items()}
    for where, fragment in fragments.items():
        try:
            _check(fragment, where)
            _check_of_many(fragment, where)
            parse_vm("NAME", merge_patch(_as_members(defaults), fragment))
        except ConfigError as error:
            raise error.inside(file_name) from None
    return InstanceTemplate(defaults, {name: of_one or {} for name, of_one in namespaces.items()})


def wanted_vm(
    instance: Instance,
    template: InstanceTemplate,
    netns: str,
    *,
    trusts_annotations: bool,
    trusts_firmware: bool = False,
) -> WantedVm:
    """Return the VM that is wanted for an instance in a network namespace.

    Raises:
        ConfigError: the annotation or the result is no VM, or the firmware shows no UUID.
    """
    members: object = _derived(instance, trusts_firmware=trusts_firmware)
    fragments = [template.defaults, template.namespaces.get(instance.namespace, {})]
    if trusts_annotations and (text := instance.annotations.get(ANNOTATION, "")):
        fragments.append(_annotated(text))
    for fragment in fragments:
        members = merge_patch(members, fragment)
    vm = parse_vm(instance.vm_name, _as_members(members))
    marked: dict[str, Any] = msgspec.json.decode(encode_vm(vm))
    definition = {key: value for key, value in marked.items() if key != "network"}
    mark = VmMark(
        _digest(definition)[:_DIGITS],
        _digest(marked.get("network"))[: _DIGITS // 2],
        node_digest(instance.node),
    )
    claims = [(path, text_at(vm, path).lower()) for path in ("compute.vmId", "compute.resourceId")]
    if signed := _as_members(marked.get("attested")).get("vmId"):
        claims.append(("compute.vmId", str(signed).lower()))
    compute = marked.setdefault("compute", {})
    tags = compute.setdefault("tags", {})
    if not isinstance(tags, dict):
        seen, expected = "a string or an order of its own", "tags by name"
        raise ConfigError(f"vms.{instance.vm_name}.compute.tags", seen, expected)
    tags[MARK] = mark.text
    unique = tuple(dict.fromkeys(claims))
    return WantedVm(instance.vm_name, marked, mark, (f"netns:{netns}",), unique)


def node_digest(node: str) -> str:
    """Return the part of a mark for a node, whose name guests do not see."""
    return hashlib.sha256(node.encode()).hexdigest()[: _DIGITS // 2]


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def _derived(instance: Instance, *, trusts_firmware: bool) -> dict[str, Any]:
    firmware = instance.firmware_uuid if trusts_firmware else ""
    if firmware and not _UUID.fullmatch(firmware):
        raise ConfigError("spec.domain.firmware.uuid", f'"{firmware[:80]}"', "a UUID")
    compute = {
        "name": instance.name,
        "resourceGroupName": instance.namespace,
        "vmId": firmware.lower() or instance.vm_id,
    }
    interfaces = []
    for card in instance.cards:
        interface: dict[str, Any] = {"macAddress": card.mac}
        if card.ipv4:
            interface["ipv4"] = {"ipAddress": [{"privateIpAddress": card.ipv4}]}
        if card.ipv6:
            interface["ipv6"] = {"ipAddress": [{"privateIpAddress": card.ipv6}]}
        interfaces.append(interface)
    network = {"network": {"interface": interfaces}} if interfaces else {}
    return {"compute": compute, **network}


def _annotated(text: str) -> dict[str, Any]:
    where = f"the annotation {ANNOTATION}"
    if len(text) > ANNOTATION_CHARACTERS:
        seen = f"{len(text):,} characters"
        raise ConfigError(where, seen, f"at most {ANNOTATION_CHARACTERS:,}")
    fragment = decode(text.encode(), where)
    _check(fragment, where)
    return _as_members(fragment)


def _check(fragment: object, where: str) -> None:
    """Check that a fragment has none of the members that the watcher sets.

    Raises:
        ConfigError: it has not.
    """
    if not isinstance(fragment, dict):
        raise ConfigError(where, type(fragment).__name__, "members of a VM, such as compute")
    for key in _OF_THE_WATCHER:
        if key in fragment:
            raise ConfigError(f"{where}.{key}", "a value", "nothing: the watcher sets it")


def _check_of_many(fragment: dict[str, Any], where: str) -> None:
    """Check that a part of a template gives no two VMs the same id.

    Raises:
        ConfigError: it does.
    """
    for part, key in _OF_ONE_VM:
        if key in _as_members(fragment.get(part)):
            seen = "a value for several VMs"
            raise ConfigError(f"{where}.{part}.{key}", seen, "nothing: each VM has its own")
    if where == "defaults" and "resourceGroupName" in _as_members(fragment.get("compute")):
        raise ConfigError(
            f"{where}.compute.resourceGroupName",
            "one group for all namespaces, in which equal names have one resource id",
            "nothing, or a group for each of namespaces",
        )


def _as_members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
