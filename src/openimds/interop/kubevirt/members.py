"""Members of a VM for an instance: derived, of the template, of the annotation."""

import hashlib
from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.kubevirt.instance import Instance
from openimds.parameters import nearest
from openimds.vm.decode import decode
from openimds.vm.fleet_file import merge_patch, parse_vm
from openimds.vm.serialize import encode_vm

MARK = "openimds-kubevirt"
"""The tag of a VM that was made for an instance; its value is a digest of the definition."""
ANNOTATION = "openimds/vm"
"""The annotation of an instance with members of its VM, as YAML or JSON."""
ANNOTATION_CHARACTERS = 16_384
"""The longest annotation that is read. Kubernetes takes 256 KiB for all of an object."""
_OF_THE_WATCHER = ("reach", "host", "nextHost")
_PARTS = ("defaults", "namespaces")
_DIGITS = 16


class InstanceTemplate(Struct, frozen=True):
    """Members of VMs that an operator gives: for all, and for those of a namespace."""

    defaults: dict[str, Any] = {}
    namespaces: dict[str, dict[str, Any]] = {}


class WantedVm(Struct, frozen=True):
    """A VM that is wanted: its members with the mark, without `reach`."""

    name: str
    members: dict[str, Any]
    digest: str
    listen: tuple[str, ...]


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
            parse_vm("NAME", merge_patch(_as_members(defaults), fragment))
        except ConfigError as error:
            raise error.inside(file_name) from None
    return InstanceTemplate(defaults, {name: of_one or {} for name, of_one in namespaces.items()})


def wanted_vm(
    instance: Instance, template: InstanceTemplate, netns: str, *, trusts_annotations: bool
) -> WantedVm:
    """Return the VM that is wanted for an instance in a network namespace.

    Raises:
        ConfigError: the annotation or the result is no VM.
    """
    members: object = _derived(instance)
    fragments = [template.defaults, template.namespaces.get(instance.namespace, {})]
    if trusts_annotations and (text := instance.annotations.get(ANNOTATION, "")):
        fragments.append(_annotated(text))
    for fragment in fragments:
        members = merge_patch(members, fragment)
    canonical = encode_vm(parse_vm(instance.vm_name, _as_members(members)))
    digest = hashlib.sha256(canonical).hexdigest()[:_DIGITS]
    marked: dict[str, Any] = msgspec.json.decode(canonical)
    compute = marked.setdefault("compute", {})
    tags = compute.setdefault("tags", {})
    if not isinstance(tags, dict):
        seen, expected = "a string or an order of its own", "tags by name"
        raise ConfigError(f"vms.{instance.vm_name}.compute.tags", seen, expected)
    tags[MARK] = digest
    return WantedVm(instance.vm_name, marked, digest, (f"netns:{netns}",))


def _derived(instance: Instance) -> dict[str, Any]:
    compute = {
        "name": instance.name,
        "resourceGroupName": instance.namespace,
        "vmId": instance.vm_id,
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


def _as_members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
