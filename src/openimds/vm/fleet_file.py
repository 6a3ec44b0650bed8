"""Parse the plain value of a fleet file, or of one VM in it.

Every VM comes in here: fleet files, the admin API and the store all call `parse_vm`.
"""

import re
from typing import Any

from msgspec import convert

from openimds.errors import ConfigError
from openimds.facts.clouds import PUBLIC
from openimds.facts.kinds import LONGEST_REPROVISION_DATA
from openimds.parameters import check_names, describe, nearest, quote_hint
from openimds.vm.claims import check_own_claims
from openimds.vm.identities import ENTRA, SYSTEM
from openimds.vm.names import NAME_FORM, check_name, check_user_assigned, is_name
from openimds.vm.schema import fleet_tree, vm_tree
from openimds.vm.schema_tree import newest_tree
from openimds.vm.tags import FORMS, pairs, wire_forms
from openimds.vm.types import Fleet, Vm
from openimds.vm.validate import validate

_NAME = re.compile("[^/\ufffd]{1,256}")
"""The names of 0.1.0, which the store may have: no slash, no replacement character."""
_GUID = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
VARIED = "varied"
"""As `defaults.network`: default addresses that differ in kind, as on Azure."""
_IDS = ("clientId", "principalId")
_INTERFACE = re.compile("[A-Za-z0-9_.:@+-]{1,15}")
"""The interface names of the kernel, without characters that a shell or nft interprets."""
_MAC = re.compile("[0-9A-Fa-f]{2}([:-]?)[0-9A-Fa-f]{2}(\\1[0-9A-Fa-f]{2}){4}")
OF_ONE_VM = ("reach", "nextHost")
"""Members that no default can give."""
_OF_ONE_VM_ALONE = (
    ("compute", "name"),
    ("compute", "vmId"),
    ("compute", "resourceId"),
    ("attested", "vmId"),
)


def parse_fleet(value: object) -> Fleet:
    """Return the fleet in the value of a fleet file.

    Raises:
        ConfigError: with the path inside the file, e.g. `vms.web-1.compute.vmsize`.
    """
    if not isinstance(value, dict):
        raise ConfigError("top level", describe(value), "a mapping with vms")
    keys = fleet_tree().members
    check_names(value.keys(), keys, "top level")
    cloud = validate(value.get("cloud", PUBLIC), keys["cloud"], "cloud")
    defaults = validate(_with_network(value.get("defaults")), vm_tree(), "defaults")
    _refuse_defaults_of_one_vm(defaults)
    vms = value.get("vms")
    if not isinstance(vms, dict) or not vms:
        hint = "Write vms: {vm-1: {}}"
        raise ConfigError("vms", describe(vms), "a mapping of VM names to VMs", hint)
    return Fleet(
        {name: parse_vm(name, part, cloud, defaults) for name, part in vms.items()},
        value.get("events"),
        value.get("faults"),
    )


def parse_vm(
    name: object,
    value: object,
    cloud: str = PUBLIC,
    defaults: dict[str, object] | None = None,
    *,
    is_stored: bool = False,
) -> Vm:
    """Return one VM from its part of a fleet file; `defaults` are validated.

    A stored VM may have a name and identities that a new one may not.

    Raises:
        ConfigError: as `parse_fleet`.
    """
    where = f"vms.{name}"
    if not is_stored:
        check_name(name)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isprintable():
        seen = f"the name {describe(name)}"
        raise ConfigError("vms", seen, "a printable string without /", quote_hint(name))
    members = validate(value, vm_tree(), where)
    if defaults:
        members = merge(defaults, members)
    if identities := members.get("identities"):
        _refuse_wrong_identities(identities, f"{where}.identities")
        if not is_stored:
            check_user_assigned(identities.get("user", ()), where)
    if len(members.get("reprovisionData", "")) > LONGEST_REPROVISION_DATA:
        seen = f"{len(members['reprovisionData'])} characters"
        expected = f"XML of at most {LONGEST_REPROVISION_DATA} characters"
        raise ConfigError(f"{where}.reprovisionData", seen, expected)
    _refuse_wrong_placement(members.get("host", ""), members.get("nextHost", ""), where)
    if reach := members.get("reach"):
        _refuse_wrong_reach(reach, f"{where}.reach")
    document = {key: members[key] for key in newest_tree().members if key in members}
    return convert({"cloud": cloud, **members, "name": name, "document": document}, Vm)


def _with_network(defaults: object) -> object:
    """Return the defaults with `network: varied` as the key that VMs have for it.

    Raises:
        ConfigError: another text stands there.
    """
    network = defaults.get("network") if isinstance(defaults, dict) else None
    if not isinstance(network, str):
        return defaults
    assert isinstance(defaults, dict)
    if network != VARIED:
        expected = f"{VARIED}, or a mapping of names to values"
        raise ConfigError("defaults.network", describe(network), expected)
    others = {name: part for name, part in defaults.items() if name != "network"}
    return {"variedNetwork": True, **others}


def _refuse_defaults_of_one_vm(defaults: dict[str, Any]) -> None:
    for part, key in _OF_ONE_VM_ALONE:
        if key in defaults.get(part, ()):
            raise ConfigError(
                f"defaults.{part}.{key}",
                describe(defaults[part][key]),
                "nothing: every VM has its own",
                f"Write it under vms.NAME.{part}",
            )
    for key in OF_ONE_VM:
        if key in defaults:
            hint = "Write it under vms.NAME"
            raise ConfigError(f"defaults.{key}", "a value", "nothing: every VM has its own", hint)


def _refuse_wrong_identities(identities: dict[str, Any], where: str) -> None:
    assigned = [SYSTEM, *identities.get("user", ())]
    details: dict[str, dict[str, Any]] = identities.get("details", {})
    for name in details:
        if name.lower() not in map(str.lower, assigned):
            expected = "system, or a resource id that stands under user"
            raise ConfigError(f"{where}.details", f'"{name}"', expected, nearest(name, assigned))
    for resource in identities.get("user", ()):
        if _GUID.fullmatch(resource):
            hint = "Its client id stands under details; az identity show prints both"
            raise ConfigError(f"{where}.user", describe(resource), "the id of a resource", hint)
    ids = {f"{where}.tenantId": identities.get("tenantId")}
    for name, detail in details.items():
        path, source = f"{where}.details.{name}", detail.get("source") or identities.get("source")
        ids |= {f"{path}.{key}": detail.get(key) for key in _IDS}
        check_own_claims(detail, path, is_local=source != ENTRA)
    for path, text in ids.items():
        if text is not None and not _GUID.fullmatch(text):
            raise ConfigError(path, describe(text), "a GUID, as az ad sp show prints it")


def _refuse_wrong_placement(host: str, next_host: str, where: str) -> None:
    for key, name in (("host", host), ("nextHost", next_host)):
        if name and not is_name(name):
            raise ConfigError(f"{where}.{key}", describe(name), f"the name of a host: {NAME_FORM}")
    if next_host and not host:
        hint = "Write host alone for a VM that is on no host yet"
        raise ConfigError(f"{where}.nextHost", "a next host without a host", "both", hint)
    if next_host and next_host == host:
        raise ConfigError(f"{where}.nextHost", describe(host), "another host than the present one")


def _refuse_wrong_reach(reach: dict[str, Any], where: str) -> None:
    interface, mac = reach.get("interface"), reach.get("mac")
    if interface is not None and not _INTERFACE.fullmatch(interface):
        expected = "the name of an interface, at most 15 letters, digits or _.:@+-"
        raise ConfigError(f"{where}.interface", describe(interface), expected)
    if mac is not None and not _MAC.fullmatch(mac):
        expected = "a hardware address such as 00:0d:3a:12:34:56"
        raise ConfigError(f"{where}.mac", describe(mac), expected)
    if mac is not None and interface is None:
        seen = "a hardware address without an interface"
        raise ConfigError(f"{where}.mac", seen, "both", "Write interface beside it")


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `over` laid on `under`: objects merge, tags merge by name, all else is replaced."""
    merged = {**under, **over}
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            merged[key] = merge(under[key], over[key])
    if under.get("tagsList") is not None and over.get("tagsList") is not None:
        tags = {**dict(pairs(under["tagsList"])), **dict(pairs(over["tagsList"]))}
        merged |= wire_forms(sorted(tags.items()))
    return merged


def merge_patch(target: object, patch: object) -> object:
    """Return `target` changed by a JSON merge patch (RFC 7396).

    Tags have two forms in a document: a patch of either form replaces both.
    """
    if not isinstance(patch, dict):
        return patch
    members = dict(target) if isinstance(target, dict) else {}
    if not patch.keys().isdisjoint(FORMS):
        tags = dict(pairs(members["tagsList"])) if members.get("tagsList") else members.get("tags")
        for form in FORMS:
            members.pop(form, None)
        if isinstance(patch.get("tags"), dict) and tags is not None:
            members["tags"] = tags
    for key, value in patch.items():
        if value is None:
            members.pop(key, None)
        else:
            members[key] = merge_patch(members.get(key), value)
    return members
