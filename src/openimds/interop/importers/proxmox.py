"""VMs of Proxmox VE: `qm config`, files of /etc/pve, JSON of the API.

Keys and their properties are those of Proxmox' manual page of qm.conf, and of pct.conf for
containers. The tap of card n of VM 101 is `tap101in`, of a container `veth101in`. The number of the
VM is not among its settings, but in the names of its disks.
"""

import re
from typing import Any
from urllib.parse import unquote

from openimds.interop.importers import conversions
from openimds.interop.importers.assemble import FoundResources
from openimds.interop.importers.machines import put_interface, put_reach, put_uuid
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind
from openimds.interop.importers.unmapped import PRESENCE, Path, written

_LINE = re.compile(r"([A-Za-z][\w-]*):\s*(.*)", re.ASCII)
_CARD = re.compile(r"net([0-9]{1,2})", re.ASCII)
_OWN = re.compile(
    r"(net|scsi|virtio|sata|ide|efidisk|mp)[0-9]{1,2}|smbios1|vmgenid|scsihw|ostype|bootdisk|rootfs",
    re.ASCII,
)
"""Keys of which a configuration has one at least."""
_MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3")
_DISK = re.compile(r"(?:vm|subvol|base)-([1-9][0-9]{0,8})-disk-")
_MAC = re.compile("[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
_LINES = 10_000


def parse(text: str) -> dict[str, object] | None:
    """Return the keys that `qm config` prints, or None for another text.

    Sections of snapshots are left out: they are about the past.
    """
    members: dict[str, object] = {}
    for line in text.splitlines()[:_LINES]:
        if line.startswith("["):
            break
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            return None
        members.setdefault(match[1], match[2])
    return members if is_configuration(members) else None


def is_configuration(value: object) -> bool:
    """Tell whether a value has the keys of a VM or container of Proxmox."""
    inner = _configuration(value)
    return any(_OWN.fullmatch(str(name)) and isinstance(inner[name], str) for name in inner)


def _configuration(value: object) -> dict[str, Any]:
    """Return the keys, which the API wraps in `data`."""
    inner = value.get("data", value) if isinstance(value, dict) else {}
    return inner if isinstance(inner, dict) else {}


def find_resources(value: object) -> FoundResources:
    """Return the VM of a configuration.

    Raises:
        ConfigError: a value of an impossible form.
    """
    assert isinstance(value, dict)
    inner = _configuration(value)
    path: Path = () if inner is value else ("data",)
    machine = Resource(ResourceKind.MACHINE, path, {}, {(*path, "digest")}, [])
    for key in ("hostname", "name"):
        if isinstance(inner.get(key), str):
            machine.values["name",] = MappedValue(inner[key], (*path, key))
    if ("name",) not in machine.values and (own := _number(inner)):
        # Proxmox names it so, too: VM 101.
        machine.values["name",] = MappedValue(f"vm-{own}", (*path, PRESENCE))
    _put_system(machine, inner, path)
    cards = sorted(
        (int(match[1]), str(name))
        for name in inner
        if (match := _CARD.fullmatch(str(name))) and isinstance(inner[name], str)
    )
    for position, (number, name) in enumerate(cards):
        properties = _properties(inner[name])
        at = (*path, name)
        mac = _mac(properties, at)
        put_interface(machine, position, mac)
        if position == 0:
            bridge = properties.get("bridge")
            put_reach(
                machine,
                _tap(inner, number, at) or (MappedValue(bridge, at) if bridge else None),
                mac,
            )
        address = properties if "ip" in properties else _properties(inner.get(f"ipconfig{number}"))
        where = at if "ip" in properties else (*path, f"ipconfig{number}")
        _put_addresses(machine, position, address, where)
    return FoundResources([machine])


def _put_system(machine: Resource, inner: dict[str, Any], path: Path) -> None:
    smbios = _properties(inner.get("smbios1"))
    put_uuid(machine, smbios.get("uuid"), (*path, "smbios1"))
    system = str(inner.get("ostype") or "")
    if system and "hwaddr" not in str(inner.get("net0")):
        kind = "Windows" if system.startswith("w") else "Linux"
        machine.values["compute", "osType"] = MappedValue(kind, (*path, "ostype"))
    if isinstance(user := inner.get("ciuser"), str):
        place: Path = ("compute", "osProfile", "adminUsername")
        machine.values[place] = MappedValue(user, (*path, "ciuser"))
    keys = unquote(str(inner.get("sshkeys") or "")).splitlines()
    for i, key in enumerate(filter(None, map(str.strip, keys))):
        place = ("compute", "publicKeys", i, "keyData")
        machine.values[place] = MappedValue(key, (*path, "sshkeys"))


def _tap(inner: dict[str, Any], number: int, path: Path) -> MappedValue | None:
    """Return the tap of a card, if the number of the VM is known."""
    own = _number(inner)
    kind = "veth" if "rootfs" in inner else "tap"
    return MappedValue(f"{kind}{own}i{number}", path) if own else None


def _number(inner: dict[str, Any]) -> str:
    """Return the number of the VM; empty if its disks do not agree."""
    texts = [str(inner[name]) for name in inner if not _CARD.fullmatch(str(name))]
    numbers = {match[1] for text in texts for match in _DISK.finditer(text)}
    return str(inner.get("vmid") or "") or (numbers.pop() if len(numbers) == 1 else "")


def _mac(properties: dict[str, str], path: Path) -> MappedValue | None:
    names = (*_MODELS, "macaddr", "hwaddr")
    texts = [properties[name] for name in names if _MAC.fullmatch(properties.get(name, ""))]
    return MappedValue(texts[0], path) if texts else None


def _put_addresses(
    machine: Resource, position: int, properties: dict[str, str], path: Path
) -> None:
    """Put the static addresses of cloud-init or of a container, with their subnet."""
    for name, family in (("ip", "ipv4"), ("ip6", "ipv6")):
        text = properties.get(name, "")
        if not text or text in ("dhcp", "auto", "manual"):
            continue
        address, _, length = text.partition("/")
        at: Path = ("network", "interface", position, family)
        machine.values[(*at, "ipAddress", 0, "privateIpAddress")] = MappedValue(address, path)
        if family == "ipv4" and length:
            network = str(conversions.cidr(text, written(path))).partition("/")[0]
            machine.values[(*at, "subnet", 0, "address")] = MappedValue(network, path)
            machine.values[(*at, "subnet", 0, "prefix")] = MappedValue(length, path)


def _properties(value: object) -> dict[str, str]:
    """Return the properties of a key: `virtio=BC:24:11:00:00:04,bridge=vmbr0`."""
    parts = (part.partition("=") for part in str(value or "").split(","))
    return {name.strip(): text.strip() for name, _, text in parts}
