"""A fleet from the plain value of a fleet file."""

import re

from openimds.errors import ConfigError
from openimds.facts.clouds import CLOUDS, PUBLIC
from openimds.parameters import describe, nearest, quote_hint
from openimds.vm.identities import SYSTEM
from openimds.vm.schema import LOAD_BALANCER, fleet_tree, vm_tree
from openimds.vm.schema_tree import newest_tree
from openimds.vm.tags import both, pairs_of, settle
from openimds.vm.types import Fleet, Identities, IdentityDetail, Reach, Vm
from openimds.vm.validate import read

_NAME = re.compile("[^/\ufffd]{1,256}")
"""No slash, for a name is a segment of a path; no mark of bytes that were no text."""
_GUID = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_IDS = ("clientId", "principalId")
_INTERFACE = re.compile("[A-Za-z0-9_.:@+-]{1,15}")
"""What the kernel takes as a name, without what means something to a shell or to nft."""
_MAC = re.compile("[0-9A-Fa-f]{2}([:-]?)[0-9A-Fa-f]{2}(\\1[0-9A-Fa-f]{2}){4}")
_OF_ONE_VM_ALONE = (
    ("compute", "name"),
    ("compute", "vmId"),
    ("compute", "resourceId"),
    ("attested", "vmId"),
)


def fleet(value: object) -> Fleet:
    """Return the fleet that a fleet file describes.

    Raises:
        ConfigError: with the path inside the file, e.g. `vms.web-1.compute.vmsize`.
    """
    if not isinstance(value, dict):
        raise ConfigError("top level", describe(value), "a mapping with vms")
    known = fleet_tree().members
    for name in value:
        if name not in known:
            expected = "one of " + ", ".join(known)
            raise ConfigError(
                "top level", f'unknown key "{name}"', expected, nearest(str(name), known)
            )
    cloud = str(read(value.get("cloud", PUBLIC), known["cloud"], "cloud"))
    defaults = _keys(value.get("defaults"), "defaults")
    _refuse_shared(defaults)
    vms = value.get("vms")
    if not isinstance(vms, dict) or not vms:
        raise ConfigError(
            "vms", describe(vms), "a mapping of VM names to VMs", "Write vms: {vm-1: {}}"
        )
    read_vms = {str(name): vm(name, one, cloud, defaults) for name, one in vms.items()}
    return Fleet(read_vms, value.get("events"), value.get("faults"))


def vm(
    name: object, value: object, cloud: str = PUBLIC, defaults: dict[str, object] | None = None
) -> Vm:
    """Return one VM from its part of a fleet file, over defaults that were read by this module.

    Raises:
        ConfigError: as `fleet`.
    """
    where = f"vms.{name}"
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isprintable():
        seen = f"the name {describe(name)}"
        raise ConfigError("vms", seen, "a printable string without /", quote_hint(name))
    said = merge(defaults or {}, _keys(value, where))
    _refuse_strange_details(said.get("identities"), where)
    _refuse_odd_ids(said.get("identities"), f"{where}.identities")
    _refuse_odd_reach(said.get("reach"), f"{where}.reach")
    document = {key: said[key] for key in newest_tree().members if key in said}
    return build(name, str(said.get("cloud", cloud)), document, said)


def build(name: str, cloud: str, document: dict[str, object], said: dict[str, object]) -> Vm:
    """Return the VM of parts that were read: its document, and the keys beside it."""
    identities, reach = said.get("identities"), said.get("reach")
    return Vm(
        name=name,
        cloud=CLOUDS[cloud].name,
        document=document,
        identities=_identities(identities) if isinstance(identities, dict) else Identities(),
        availability_set=str(said.get("availabilitySet", "")),
        load_balancer=_mapping(said.get("loadBalancer")),
        attested=_mapping(said.get("attested")),
        classic=said.get("classic") is True,
        reach=_reach(reach) if isinstance(reach, dict) else Reach(),
    )


def _keys(value: object, where: str) -> dict[str, object]:
    """Return the keys of one VM (or of the defaults), checked, tags settled."""
    if isinstance(value, dict):
        value = {**value}
        if "compute" in value:
            value["compute"] = settle(value["compute"], f"{where}.compute")
        balancer = value.get("loadBalancer")
        if isinstance(balancer, dict) and [*balancer] == ["loadbalancer"]:
            # The body of /metadata/loadbalancer as it was captured, with its one outer member.
            value["loadBalancer"] = read(
                balancer["loadbalancer"], LOAD_BALANCER, f"{where}.loadBalancer.loadbalancer"
            )
    said = read(value, vm_tree(), where)
    assert isinstance(said, dict)
    return said


def _refuse_shared(defaults: dict[str, object]) -> None:
    for part, key in _OF_ONE_VM_ALONE:
        said = defaults.get(part)
        if isinstance(said, dict) and key in said:
            raise ConfigError(
                f"defaults.{part}.{key}",
                describe(said[key]),
                "nothing: every VM has its own",
                f"Write it under vms.NAME.{part}",
            )
    if "reach" in defaults:
        raise ConfigError(
            "defaults.reach", "a value", "nothing: every VM has its own", "Write it under vms.NAME"
        )


def _refuse_strange_details(identities: object, where: str) -> None:
    if not isinstance(identities, dict):
        return
    held = [SYSTEM, *_texts(identities.get("user"))]
    for name in identities.get("details", {}):
        if name.lower() not in (one.lower() for one in held):
            raise ConfigError(
                f"{where}.identities.details",
                f'"{name}"',
                "system, or a resource id that stands under user",
                nearest(name, held),
            )


def _refuse_odd_ids(identities: object, where: str) -> None:
    if not isinstance(identities, dict):
        return
    for one in _texts(identities.get("user")):
        if _GUID.fullmatch(one):
            hint = "Its client id stands under details; az identity show prints both"
            raise ConfigError(f"{where}.user", describe(one), "the id of a resource", hint)
    ids = {f"{where}.tenantId": identities.get("tenantId")}
    for name, detail in identities.get("details", {}).items():
        ids |= {f"{where}.details.{name}.{key}": detail.get(key) for key in _IDS}
    for path, text in ids.items():
        if text is not None and not _GUID.fullmatch(text):
            raise ConfigError(path, describe(text), "a GUID, as az ad sp show prints it")


def _refuse_odd_reach(reach: object, where: str) -> None:
    if not isinstance(reach, dict):
        return
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


def merge(under: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    """Return `over` laid on `under`: objects merge, tags merge by name, all else is replaced."""
    merged = {**under, **over}
    for key in under.keys() & over.keys():
        below, above = under[key], over[key]
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = merge(below, above)
    if "tagsList" in under and "tagsList" in over:
        merged |= both(sorted({**dict(pairs_of(under)), **dict(pairs_of(over))}.items()))
    return merged


def merge_patch(target: object, patch: object) -> object:
    """Return `target` changed by a JSON merge patch (RFC 7396).

    Tags have two forms in a document: a patch of one of them replaces both.
    """
    if not isinstance(patch, dict):
        return patch
    members = dict(target) if isinstance(target, dict) else {}
    if {"tags", "tagsList"} & patch.keys():
        held = dict(pairs_of(members)) if "tagsList" in members else members.get("tags")
        for form in ("tags", "tagsList"):
            members.pop(form, None)
        if isinstance(patch.get("tags"), dict) and held is not None:
            members["tags"] = held
    for key, value in patch.items():
        if value is None:
            members.pop(key, None)
        else:
            members[key] = merge_patch(members.get(key), value)
    return members


def _identities(said: dict[str, object]) -> Identities:
    details = said.get("details")
    return Identities(
        said.get("system") is True,
        _texts(said.get("user")),
        str(said.get("tenantId", "")),
        str(said.get("source", "")),
        {name: _detail(one) for name, one in details.items()} if isinstance(details, dict) else {},
    )


def _detail(said: dict[str, object]) -> IdentityDetail:
    return IdentityDetail(
        *(str(said.get(name, "")) for name in ("clientId", "principalId", "source"))
    )


def _reach(said: dict[str, object]) -> Reach:
    address = said.get("address")
    return Reach(
        None if address is None else _texts(address),
        _texts(said.get("listen")),
        str(said.get("interface", "")),
        str(said.get("mac", "")),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _mapping(value: object) -> dict[str, object] | None:
    return value if isinstance(value, dict) else None
