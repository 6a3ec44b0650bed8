"""What ties a VM to its place on a host: interface, hardware address, source addresses."""

from collections.abc import Iterable
from ipaddress import ip_address

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.vm.defaults import default_address, first_mac, private_addresses
from openimds.vm.types import Vm

_MAC_DIGITS = 12


class InterfaceBinding(Struct, frozen=True):
    """One VM that says its interface; addresses as the kernel writes them, `mac` with colons."""

    vm: str
    interface: str
    mac: str
    addresses: tuple[str, ...]

    def of(self, version: int) -> tuple[str, ...]:
        """Return the addresses of one version of IP, 4 or 6."""
        return tuple(one for one in self.addresses if ip_address(one).version == version)


def bindings(vms: Iterable[Vm]) -> list[InterfaceBinding]:
    """Return the ties of all VMs that say their interface, by the names of the VMs.

    Raises:
        ConfigError: two VMs say one interface or address, or a VM has no address that could be
            tied, or its hardware address is none.
    """
    found = [_tie(vm) for vm in sorted(vms, key=lambda vm: vm.name) if vm.reach.interface]
    interfaces: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for tie in found:
        _claim(interfaces, tie.interface, tie.vm, "interface")
        for address in tie.addresses:
            _claim(addresses, address, tie.vm, "address")
    return found


def _claim(claims: dict[str, str], what: str, name: str, key: str) -> None:
    other = claims.setdefault(what, name)
    if other != name:
        seen = f"{what}, which is also that of {other}"
        raise ConfigError(f"vms.{name}.reach.{key}", seen, "one VM to each")


def _tie(vm: Vm) -> InterfaceBinding:
    said = vm.reach.address
    if said is None:
        # A captured document may say anything, such as X.X.X.X.
        said = tuple(filter(_is_address, private_addresses(vm))) or (default_address(vm),)
    where = f"vms.{vm.name}.reach.address"
    for one in said:
        if not _is_address(one):
            raise ConfigError(where, f'"{one}"', "an IPv4 or IPv6 address")
    if not said:
        expected = "the source addresses of a VM that says its interface"
        raise ConfigError(where, "no address", expected)
    return InterfaceBinding(vm.name, vm.reach.interface, _mac(vm), tuple(map(_plain, said)))


def _mac(vm: Vm) -> str:
    text = vm.reach.mac or first_mac(vm)
    digits = "".join(one for one in text.lower() if one in "0123456789abcdef")
    if len(digits) != _MAC_DIGITS:
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
