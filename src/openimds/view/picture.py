"""The picture, its entries, and how callers find theirs."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import Generic, TypeVar

import msgspec.msgpack
from msgspec import Struct

from openimds.core.answer import Subject
from openimds.core.limit import Window, window
from openimds.errors import ConfigError
from openimds.model.defaults import complete, default_address, private_addresses
from openimds.model.vm import Vm
from openimds.spec.limits import LIMITS
from openimds.spec.versions import Catalog
from openimds.view.shelf import Replies

R = TypeVar("R")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Vm).decode


class Allowance(Struct, frozen=True):
    """The limits of every VM in one class: requests a second, burst (0: one second's worth)."""

    rate_per_s: float
    burst: int = 0


Allowances = dict[str, Allowance]
"""By limiter class. A class that is absent is not limited."""


def documented_allowances() -> Allowances:
    """Return the limits that Azure documents."""
    return {key: Allowance(row.per_s) for key, row in LIMITS.items()}


class Entry(Generic[R]):
    """One VM as the data plane sees it."""

    __slots__ = ("_packed", "_windows", "name", "replies")

    def __init__(self, vm: Vm) -> None:
        """Pack the VM."""
        self.name = vm.name
        self.replies: Replies[R] = Replies()
        self._packed = _pack(vm)
        self._windows: dict[str, Window] | None = None

    @property
    def vm(self) -> Vm:
        """The VM, unpacked."""
        return _unpack(self._packed)

    def subject(self, catalog: Catalog) -> Subject:
        """Return the VM as `core.answer` wants it; this is the slow path of a first request."""
        vm = self.vm
        return Subject(complete(vm), vm.classic, catalog)

    def grants(self, limit: str, allowances: Allowances, now_s: float) -> bool:
        """Tell whether this VM may ask now in a limiter class, and count it if so."""
        windows = self._windows
        if windows is None:
            windows = self._windows = {}
        counted = windows.get(limit)
        if counted is None:
            allowance = allowances.get(limit)
            if allowance is None:
                return True
            counted = windows[limit] = window(limit, allowance.rate_per_s, allowance.burst)
        return counted.grants(now_s)


class Picture(Generic[R]):
    """Every VM of a fleet, and the ways in which callers reach them.

    `only` is the VM that answers every caller, when there is just one. `remarks` are sentences for
    the operator about what was settled in silence.
    """

    def __init__(self, vms: Iterable[Vm], catalog: Catalog) -> None:
        """Compile the picture.

        Raises:
            ConfigError: two VMs claim one address or listener, or an address is none.
        """
        self.catalog = catalog
        self.by_name: dict[str, Entry[R]] = {}
        self.by_address: dict[str, Entry[R]] = {}
        self.by_listener: dict[str, Entry[R]] = {}
        self.remarks: list[str] = []
        presumed: list[tuple[str, Entry[R]]] = []
        for vm in vms:
            entry: Entry[R] = Entry(vm)
            self.by_name[vm.name] = entry
            written = self._written(vm)
            for address in written:
                self._claim(self.by_address, address, entry, "reach.address")
            for listener in vm.reach.listen:
                self._claim(self.by_listener, listener, entry, "reach.listen")
            if not written and vm.reach.address is None:
                presumed.append((default_address(vm), entry))
        self._presume(presumed)
        self.only = next(iter(self.by_name.values())) if len(self.by_name) == 1 else None

    def caller(self, address: str) -> Entry[R] | None:
        """Return the VM at a source address as a socket gives it, or None."""
        if self.only is not None:
            return self.only
        return self.by_address.get(address) or self.by_address.get(_plain(address))

    @staticmethod
    def _written(vm: Vm) -> list[str]:
        """Return the addresses that somebody wrote down for a VM, in their normal form."""
        if vm.reach.address is not None:
            return [_normal(address, vm.name) for address in vm.reach.address]
        said = private_addresses(vm)
        return [address for address in map(_plain, said) if _is_address(address)]

    def _claim(self, claims: dict[str, Entry[R]], what: str, entry: Entry[R], where: str) -> None:
        other = claims.setdefault(what, entry)
        if other is not entry:
            raise ConfigError(
                f"vms.{entry.name}.{where}",
                f"{what}, which is also that of {other.name}",
                "one VM to each",
                "Give one of them another private address, or a reach of its own",
            )

    def _presume(self, presumed: list[tuple[str, Entry[R]]]) -> None:
        """Add the addresses that are mere defaults, where nobody else has them."""
        for address, entry in presumed:
            other = self.by_address.setdefault(address, entry)
            if other is not entry:
                self.remarks.append(
                    f"{entry.name} has no address of its own: its default {address} is that of "
                    f"{other.name}. Give it network.interface or reach"
                )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _normal(text: str, vm_name: str) -> str:
    address = _plain(text)
    if not _is_address(address):
        where = f"vms.{vm_name}.reach.address"
        raise ConfigError(where, f'"{text}"', "an IPv4 or IPv6 address")
    return address


def _plain(text: str) -> str:
    """Return an address without its zone, in the one form that equal addresses share."""
    if ":" not in text:
        return text
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
