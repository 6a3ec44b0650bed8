"""Bindings of VMs on a host: interface, hardware address, source addresses."""

from collections.abc import Iterable
from ipaddress import ip_address

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.vm.defaults import default_address, first_mac, hardware_address, private_addresses
from openimds.vm.types import Vm

_MAC_DIGITS = 12


class InterfaceBinding(Struct, frozen=True):
    """One VM with an interface; addresses in the kernel's form, `mac` with colons.

    `is_local` tells that it is a VM of Azure Local, which asks at an address of its own.
    """

    vm: str
    interface: str
    mac: str
    addresses: tuple[str, ...]
    is_local: bool = False

    def of(self, version: int) -> tuple[str, ...]:
        """Return the addresses of one version of IP, 4 or 6."""
        return tuple(item for item in self.addresses if ip_address(item).version == version)


def bindings(vms: Iterable[Vm]) -> list[InterfaceBinding]:
    """Return the bindings of the VMs that have an interface, sorted by name.

    Raises:
        ConfigError: two VMs share an interface or an address, or a VM has no usable address, or its
            hardware address is malformed.
    """
    by_name = sorted(vms, key=lambda vm: vm.name)
    bound = [binding_of(vm) for vm in by_name if vm.reach.interface]
    interfaces: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for binding in bound:
        _claim(interfaces, binding.interface, binding.vm, "interface")
        for address in binding.addresses:
            _claim(addresses, address, binding.vm, "address")
    return bound


def _claim(owners: dict[str, str], claimed: str, name: str, key: str) -> None:
    owner = owners.setdefault(claimed, name)
    if owner != name:
        seen = f"{claimed}, which is also that of {owner}"
        raise ConfigError(f"vms.{name}.reach.{key}", seen, f"an {key} of this VM alone")


def binding_of(vm: Vm) -> InterfaceBinding:
    """Return the binding of a VM that has an interface.

    Raises:
        ConfigError: it has no usable address, or its hardware address is malformed.
    """
    addresses = vm.reach.address
    if addresses is None:
        # A captured document may have placeholders, such as X.X.X.X.
        addresses = tuple(filter(_is_address, private_addresses(vm))) or (default_address(vm),)
    where = f"vms.{vm.name}.reach.address"
    for address in addresses:
        if not _is_address(address):
            raise ConfigError(where, f'"{address}"', "an IPv4 or IPv6 address")
    if not addresses:
        expected = "the source addresses of a VM that has an interface"
        raise ConfigError(where, "no address", expected)
    plain = tuple(map(_plain, addresses))
    return InterfaceBinding(vm.name, vm.reach.interface, _mac(vm), plain, vm.is_local)


def _mac(vm: Vm) -> str:
    digits = hardware_address(vm)
    if len(digits) != _MAC_DIGITS:
        text = vm.reach.mac or first_mac(vm)
        where = f"vms.{vm.name}.network.interface[0].macAddress"
        hint = "Write reach.mac"
        raise ConfigError(where, f'"{text}"', "a hardware address: 12 hexadecimal digits", hint)
    return ":".join(digits[i : i + 2] for i in range(0, _MAC_DIGITS, 2))


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _plain(text: str) -> str:
    return str(ip_address(text.partition("%")[0]))
