"""The hosts of a VM: one, and two while it moves.

Addresses and listeners belong to one host: two VMs may have one address on two hosts, never on one.
A VM on no host is stored, and served nowhere.
"""

from openimds.fleet.address_claims import AddressClaims, claims_of
from openimds.fleet.vm_entry import PackedVm
from openimds.protocol.events.event import place_of
from openimds.vm.types import Vm

_ON = " on "


def hosts_of(vm: Vm) -> tuple[str, ...]:
    """Return the host of a VM, and the one that it moves to."""
    return tuple(host for host in (vm.host, vm.next_host) if host)


def placed_claims(vm: Vm) -> AddressClaims:
    """Return the claims of a VM on each of its hosts.

    Raises:
        ConfigError: one of its configured addresses is invalid.
    """
    claims, hosts = claims_of(vm), hosts_of(vm)
    scope, _ = place_of(vm)
    return AddressClaims(
        tuple(text + _ON + host for host in hosts for text in claims.addresses),
        tuple(text + _ON + host for host in hosts for text in claims.listeners),
        claims.presumed + _ON + vm.host if claims.presumed and vm.host else "",
        hosts=hosts,
        scope=scope,
    )


def claims_on(host: str, claims: AddressClaims) -> AddressClaims:
    """Return what a placed VM claims on one host; there it never answers every caller."""
    presumed, _, _ = claims.presumed.rpartition(_ON)
    return AddressClaims(
        _of_host(host, claims.addresses), _of_host(host, claims.listeners), presumed
    )


def vm_on(host: str, name: str, packed: bytes, claims: AddressClaims) -> PackedVm:
    """Return a placed VM as one of its hosts has it."""
    return PackedVm(name, packed, claims_on(host, claims))


def _of_host(host: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    suffix = _ON + host
    return tuple(text.removesuffix(suffix) for text in texts if text.endswith(suffix))
