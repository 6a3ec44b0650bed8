"""The network of one VM, from its interfaces, their addresses and their subnets.

An address of the Standard SKU is not in the instance document of a real VM: it stands in the load
balancer metadata (rows `publicIpAddress`: recorded in S2 and S18), so it is put there. An address
of an unknown SKU is put into the document, as one of the Basic SKU is.
"""

from ipaddress import ip_address, ip_network

from msgspec import Struct

from openimds.interop.importers.inventory import AssembledVm, Inventory
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind
from openimds.interop.importers.unmapped import PRESENCE, Path

_NIC: Path = ("network", "interface")
_BALANCED: Path = ("loadBalancer", "publicIpAddresses")
_EXTRAS = ("private", "public", "mac")


class _Slot(Struct, frozen=True):
    """One interface of the VM; `card` is its resource, if the input has it."""

    position: int
    """Its position in the list of the VM; interfaces that only name the VM come after those."""
    ref: MappedValue | None
    card: Resource | None
    is_primary: bool


def put_interfaces(machine: Resource, inventory: Inventory, assembled: AssembledVm) -> None:
    """Put the interfaces of a VM into `assembled`."""
    slots = _slots(machine, inventory)
    assembled.use(
        machine,
        ("primaryCard",),
        *(("cards", i, "primary") for i in machine.positions("cards")),
    )
    if any(slot.card for slot in slots):
        _Cards(machine, inventory, assembled).put(slots)
    else:
        _spread(machine, slots, assembled)
    _mark_used(machine, assembled)


def _slots(machine: Resource, inventory: Inventory) -> list[_Slot]:
    refs = [machine.values.get(("cards", i, "id")) for i in machine.positions("cards")]
    cards = [inventory.find(ResourceKind.CARD, str(ref.value)) if ref else None for ref in refs]
    more = [
        card
        for card in inventory.of(ResourceKind.CARD, machine)
        if not any(card is listed for listed in cards)
    ]
    refs += [None] * len(more)
    slots = [
        _Slot(i, ref, card, _is_primary(machine, i, ref, card))
        for i, (ref, card) in enumerate(zip(refs, [*cards, *more], strict=True))
    ]
    return sorted(slots, key=lambda slot: not slot.is_primary)


def _is_primary(machine: Resource, i: int, ref: MappedValue | None, card: Resource | None) -> bool:
    if ref and machine.get("primaryCard").lower() == str(ref.value).lower():
        return True
    return _is_true(machine, "cards", i, "primary") or bool(card and _is_true(card, "primary"))


def _is_true(resource: Resource, *place: str | int) -> bool:
    value = resource.values.get(place)
    return value is not None and value.value is True


def _words(machine: Resource, name: str) -> list[MappedValue]:
    """Return the addresses of one of the VM's own lists."""
    value = machine.values.get(("extras", name))
    if value is None or not isinstance(value.value, tuple):
        return []
    return [MappedValue(word, value.path) for word in value.value]


class _Cards:
    """Puts the interfaces that the input has resources for."""

    def __init__(self, machine: Resource, inventory: Inventory, assembled: AssembledVm) -> None:
        self._machine, self._inventory, self._assembled = machine, inventory, assembled
        self._pending: list[tuple[Path, Path]] = []
        """Public addresses without a resource: their place, and the path of their id."""

    def put(self, slots: list[_Slot]) -> None:
        for n, slot in enumerate(slots):
            at = (*_NIC, n)
            self._assembled.put(at, MappedValue({}, (*self._machine.root, PRESENCE)))
            if slot.card:
                self._card(slot.card, at)
            if slot.card and slot.ref:
                self._assembled.used.add(slot.ref.path)
        self._match_public_addresses()

    def _card(self, card: Resource, at: Path) -> None:
        self._assembled.use(card, ("key",), ("machine",), ("primary",))
        if mac := card.values.get(("mac",)):
            self._assembled.put((*at, "macAddress"), mac)
        for i in card.positions("dns"):
            place = (*at, "ipv4", "subnet", 0, "dnsservers", i, "ipaddress")
            self._assembled.put(place, card.values["dns", i])
        counts = {"ipv4": 0, "ipv6": 0}
        configurations = card.positions("addresses")
        configurations.sort(key=lambda i: not _is_true(card, "addresses", i, "primary"))
        for i in configurations:
            family = _family(card, i)
            self._assembled.use(card, ("addresses", i, "primary"), ("addresses", i, "version"))
            private = card.values.get(("addresses", i, "private"))
            if length := card.values.get(("addresses", i, "length")):
                self._block((*at, family, "ipAddressBlock", i), private, length)
                continue
            address = (*at, family, "ipAddress", counts[family])
            counts[family] += 1
            if private:
                self._assembled.put((*address, "privateIpAddress"), private)
            self._public(card, i, address)
            if family == "ipv4":
                self._subnet(card, i, at)

    def _block(self, place: Path, private: MappedValue | None, length: MappedValue) -> None:
        self._assembled.put((*place, "prefix"), length)
        if private:
            address = str(private.value).partition("/")[0]
            self._assembled.put((*place, "address"), MappedValue(address, private.path))

    def _public(self, card: Resource, i: int, address: Path) -> None:
        ref = card.values.get(("addresses", i, "public"))
        public = card.values.get(("addresses", i, "address"))
        sku = card.values.get(("addresses", i, "sku"))
        found = self._inventory.find(ResourceKind.ADDRESS, str(ref.value)) if ref else None
        if ref and found:
            public = public or found.values.get(("address",))
            sku = sku or found.values.get(("sku",))
            self._assembled.use(found, ("key",), ("sku",))
            self._assembled.used.add(ref.path)
        if public:
            self._put_public(address, public, sku)
        elif ref and not found:
            self._pending.append((address, ref.path))

    def _put_public(self, address: Path, public: MappedValue, sku: MappedValue | None) -> None:
        if sku and str(sku.value).lower() == "standard":
            n = sum(place[:2] == _BALANCED for place in self._assembled.values)
            at = (*_BALANCED, n)
            self._assembled.used.add(sku.path)
            self._assembled.put((*at, "frontendIpAddress"), _bracketed(public))
            if private := self._assembled.values.get((*address, "privateIpAddress")):
                self._assembled.put((*at, "privateIpAddress"), _bracketed(private))
        elif "ipv4" in address:
            self._assembled.put((*address, "publicIpAddress"), public)

    def _subnet(self, card: Resource, i: int, at: Path) -> None:
        ref = card.values.get(("addresses", i, "subnet"))
        subnet = self._inventory.subnet(str(ref.value)) if ref else None
        above = ("addresses", i, "prefixes")
        own = [value for place, value in card.values.items() if place[:3] == above]
        ranges = own or (subnet.prefixes() if subnet else [])
        choice = _range(ranges, card.get("addresses", i, "private"))
        if choice is None:
            return
        if ref and subnet:
            inner = ("subnets", subnet.position)
            self._assembled.use(subnet.network, ("key",), (*inner, "id"), (*inner, "name"))
            self._assembled.used.add(ref.path)
        address, _, prefix = str(choice.value).partition("/")
        present = [
            place
            for place in self._assembled.values
            if place[:5] == (*at, "ipv4", "subnet") and place[6:] == ("address",)
        ]
        same = [place for place in present if self._assembled.values[place].value == address]
        place = same[0][:6] if same else (*at, "ipv4", "subnet", len(present))
        self._assembled.put((*place, "address"), MappedValue(address, choice.path))
        self._assembled.put((*place, "prefix"), MappedValue(prefix, choice.path))

    def _match_public_addresses(self) -> None:
        """Match the VM's own public addresses with the configurations that have only an id."""
        addresses = _addresses(self._assembled)
        words = _words(self._machine, "public")
        public = [word for word in words if word.value not in addresses]
        if len(public) == len(self._pending):
            for (place, ref), address in zip(self._pending, public, strict=True):
                self._assembled.used.add(ref)
                self._put_public(place, address, None)


def _family(card: Resource, i: int) -> str:
    version = card.get("addresses", i, "version").lower()
    return "ipv6" if version == "ipv6" or ":" in card.get("addresses", i, "private") else "ipv4"


def _bracketed(address: MappedValue) -> MappedValue:
    """Return an address as in the load balancer metadata: IPv6 in brackets (S16)."""
    return MappedValue(f"[{address.value}]", address.path) if ":" in str(address.value) else address


def _range(ranges: list[MappedValue], private: str) -> MappedValue | None:
    """Return the IPv4 range that holds an address, else the first IPv4 range."""
    candidates = [value for value in ranges if ":" not in str(value.value)]
    for value in candidates:
        try:
            if ip_address(private) in ip_network(str(value.value)):
                return value
        except ValueError:
            # No address yet, or a masked one of a document: take the first range.
            break
    return candidates[0] if candidates else None


def _spread(machine: Resource, slots: list[_Slot], assembled: AssembledVm) -> None:
    """Spread the VM's own lists of addresses over its interfaces.

    The lists name no interface. The tools write them interface by interface, so the nth IPv4
    address goes to the nth interface, surplus ones to the last, and an IPv6 address to the
    interface of the address before it.
    """
    private, public, mac = (_words(machine, name) for name in _EXTRAS)
    count = max(len(slots), len(mac), 1)
    order = {slot.position: n for n, slot in enumerate(slots)}
    order |= {n: n for n in range(len(slots), count)}
    if count > 1:
        for n in range(count):
            assembled.put((*_NIC, n), MappedValue({}, (*machine.root, PRESENCE)))
    for i, word in enumerate(mac):
        assembled.put((*_NIC, order[i], "macAddress"), word)
    places: list[Path] = []
    families = {"ipv4": [0] * count, "ipv6": [0] * count}
    current = -1
    for word in private:
        family = "ipv6" if ":" in str(word.value) else "ipv4"
        current = min(current + (family == "ipv4"), count - 1)
        n = order[max(current, 0)]
        address = (*_NIC, n, family, "ipAddress", families[family][n])
        families[family][n] += 1
        assembled.put((*address, "privateIpAddress"), word)
        places += [address] if family == "ipv4" else []
    places = places or [(*_NIC, order[0], "ipv4", "ipAddress", 0)]
    visible = [word for word in public if ":" not in str(word.value)]
    if len(visible) != len(places):
        # Not every private address has a public one; those of the primary interface come first.
        places.sort(key=lambda place: [step for step in place if isinstance(step, int)])
    for address, word in zip(places, visible, strict=False):
        assembled.put((*address, "publicIpAddress"), word)


def _mark_used(machine: Resource, assembled: AssembledVm) -> None:
    """Mark those of the VM's own lists as used whose addresses all have a place."""
    addresses = _addresses(assembled)
    for name in _EXTRAS:
        words = _words(machine, name)
        paths = {word.path for word in words}
        assembled.used -= paths
        if all(word.value in addresses for word in words):
            assembled.used |= paths


def _addresses(assembled: AssembledVm) -> set[str]:
    """Return every value that the network of the VM has so far."""
    return {
        str(value.value).strip("[]")
        for place, value in assembled.values.items()
        if place[:2] in (_NIC, _BALANCED)
    }
