"""The claims of VMs on addresses and listeners, and their conflicts."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.fleet.quarantine import TakenError
from openimds.vm.defaults import default_address, private_addresses
from openimds.vm.types import Reach, Vm


class AddressClaims(Struct, frozen=True):
    """The configured addresses and listeners of a VM, or the default address it has instead.

    `is_open` tells that the VM has no `reach`: it answers every caller while it is the only VM. In
    a fleet of hosts `hosts` are the one or two that serve it, and `scope` is that of its events.
    """

    addresses: tuple[str, ...]
    listeners: tuple[str, ...]
    presumed: str
    is_open: bool = False
    hosts: tuple[str, ...] = ()
    scope: str = ""


def claims_of(vm: Vm) -> AddressClaims:
    """Return the claims of a VM.

    Raises:
        ConfigError: one of its configured addresses is invalid.
    """
    if vm.reach.address is not None:
        configured = tuple(_normal(address, vm.name) for address in vm.reach.address)
        return AddressClaims(configured, vm.reach.listen, "")
    private = tuple(text for text in map(plain, private_addresses(vm)) if _is_address(text))
    presumed = "" if private else default_address(vm)
    return AddressClaims(private, vm.reach.listen, presumed, is_open=vm.reach == Reach())


class Claimant(Protocol):
    """A VM in the index, with its claims."""

    name: str
    claims: AddressClaims


class ClaimTable:
    """The claims of a planned update, and of the VMs that it leaves alone."""

    def __init__(
        self,
        by_name: Mapping[str, Claimant],
        by_address: Mapping[str, Claimant],
        by_listener: Mapping[str, str],
        changed: AbstractSet[str],
    ) -> None:
        """Begin with the claims of all VMs but the changed ones."""
        self._by_name, self._by_address, self._changed = by_name, by_address, {*changed}
        self._addresses: dict[str, str] = {}
        self.listeners = {text: name for text, name in by_listener.items() if name not in changed}

    def taken(self, name: str, claims: AddressClaims) -> TakenError | None:
        """Return the error for the first claim of a VM that another has."""
        for address in claims.addresses:
            other = self._addresses.get(address, name)
            if other == name and (owner := self._by_address.get(address)):
                other = name if owner.name in self._changed else owner.name
            if other != name:
                return _taken(name, "reach.address", address, other)
        for listener in claims.listeners:
            if (other := self.listeners.get(listener, name)) != name:
                return _taken(name, "reach.listen", listener, other)
        return None

    def claim(self, name: str, claims: AddressClaims) -> None:
        """Add the claims of a VM of the update."""
        for address in claims.addresses:
            self._addresses[address] = name
        for listener in claims.listeners:
            self.listeners[listener] = name

    def free(self, name: str) -> None:
        """Take the claims of a VM that is in the index."""
        self._changed.add(name)
        for listener in self._by_name[name].claims.listeners:
            self.listeners.pop(listener, None)


def _taken(name: str, where: str, claim: str, other: str) -> TakenError:
    error = ConfigError(
        f"vms.{name}.{where}",
        f"{claim}, which is also that of {other}",
        "one VM to each",
        "Give one of them another private address, or a reach of its own",
    )
    return TakenError(error, name, claim, other)


def given_way(taken: TakenError) -> TakenError:
    """Return the same conflict as the error of the other VM."""
    where = taken.where.removeprefix(f"vms.{taken.name}.")
    return _taken(taken.other, where, taken.claim, taken.name)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _normal(text: str, vm_name: str) -> str:
    address = plain(text)
    if not _is_address(address):
        where = f"vms.{vm_name}.reach.address"
        raise ConfigError(where, f'"{text}"', "an IPv4 or IPv6 address")
    return address


def plain(text: str) -> str:
    """Return an address without its zone, in the one form that equal addresses share."""
    if ":" not in text:
        return text
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
