"""Values of a hypervisor's VM: its uuid, its interfaces and its reach."""

import re

from openimds.errors import ConfigError
from openimds.interop.importers import conversions
from openimds.interop.importers.mapping import MappedValue, Resource
from openimds.interop.importers.unmapped import PRESENCE, Path, written
from openimds.interop.importers.unread import Unread

_NIC: Path = ("network", "interface")
_INTERFACE = re.compile("[A-Za-z0-9_.:@+-]{1,15}")
"""The names of the kernel that a fleet file may have."""
_PAIRS = re.compile("..")


def put_uuid(machine: Resource, value: object, path: Path) -> None:
    """Put the uuid of a VM as its id."""
    if value is None:
        return
    converted = conversions.guid(value, written(path))
    if isinstance(converted, Unread):
        machine.unread[path] = converted
    elif converted is not conversions.NOTHING:
        machine.values["compute", "vmId"] = MappedValue(str(converted).lower(), path)


def put_interface(machine: Resource, position: int, mac: MappedValue | None) -> None:
    """Put an interface with its hardware address, if it has one."""
    at = (*_NIC, position)
    machine.values[at] = MappedValue({}, (*machine.root, PRESENCE))
    if mac:
        machine.values[(*at, "macAddress")] = MappedValue(_mac(mac), mac.path)


def put_reach(machine: Resource, interface: MappedValue | None, mac: MappedValue | None) -> None:
    """Put the interface of the host, and the hardware address of packets on it."""
    if interface is None:
        return
    if not _INTERFACE.fullmatch(str(interface.value)):
        machine.unread[interface.path] = Unread(
            "no name of an interface that a fleet file may have"
        )
        return
    machine.values["reach", "interface"] = interface
    if mac:
        address = ":".join(_PAIRS.findall(_mac(mac).lower()))
        machine.values["reach", "mac"] = MappedValue(address, mac.path)


def _mac(mac: MappedValue) -> str:
    """Return 12 upper-case digits.

    Raises:
        ConfigError: it is not a hardware address.
    """
    digits = conversions.mac(mac.value, written(mac.path))
    if digits is conversions.NOTHING:
        raise ConfigError(written(mac.path), "an empty text", "a hardware address")
    return str(digits)
