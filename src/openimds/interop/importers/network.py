"""The network of one VM, out of its interfaces, their addresses and their subnets.

An address of the Standard SKU is not in the instance document of a real VM: it stands in the load
balancer metadata (rows `publicIpAddress`: recorded in S2 and S18), so that is where it goes. Where
nobody says the SKU, the address goes into the document, as one of the Basic SKU does.
"""

from ipaddress import ip_address, ip_network

from msgspec import Struct

from openimds.interop.importers.inventory import AssembledVm, Inventory
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind
from openimds.interop.importers.unmapped import NOWHERE, Path

_NIC: Path = ("network", "interface")
_BALANCED: Path = ("loadBalancer", "publicIpAddresses")
_EXTRAS = ("private", "public", "mac")


class _Slot(Struct, frozen=True):
    """One interface of the VM, primary first; `card` is there if the input describes it."""

    position: int
    """Where the VM names it; the interfaces that only name the VM come after those."""
    ref: MappedValue | None
    card: Resource | None
    is_primary: bool


def wire(machine: Resource, stock: Inventory, taken: AssembledVm) -> None:
    """Put the interfaces of a VM into `taken`."""
    slots = _slots(machine, stock)
    taken.use(
        machine,
        ("primaryCard",),
        *(("cards", i, "primary") for i in machine.positions("cards")),
    )
    if any(slot.card for slot in slots):
        _Wiring(machine, stock, taken).describe(slots)
    else:
        _spread(machine, slots, taken)
    _account(machine, taken)


def _slots(machine: Resource, stock: Inventory) -> list[_Slot]:
    refs = [machine.flat.get(("cards", i, "id")) for i in machine.positions("cards")]
    cards = [stock.find(ResourceKind.CARD, str(ref.value)) if ref else None for ref in refs]
    more = [
        card
        for card in stock.of(ResourceKind.CARD, machine)
        if not any(card is one for one in cards)
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


def _is_true(piece: Resource, *place: str | int) -> bool:
    kept = piece.flat.get(place)
    return kept is not None and kept.value is True


def _words(machine: Resource, name: str) -> list[MappedValue]:
    """Return the words of one of the VM's own lists of addresses."""
    kept = machine.flat.get(("extras", name))
    if kept is None or not isinstance(kept.value, tuple):
        return []
    return [MappedValue(word, kept.path) for word in kept.value]


class _Wiring:
    """Fills in the interfaces that the input describes."""

    def __init__(self, machine: Resource, stock: Inventory, taken: AssembledVm) -> None:
        self._machine, self._stock, self._taken = machine, stock, taken
        self._pending: list[tuple[Path, Path]] = []
        """Public addresses whose objects are not there: where to put them, and their ids."""

    def describe(self, slots: list[_Slot]) -> None:
        for n, slot in enumerate(slots):
            at = (*_NIC, n)
            self._taken.put(at, MappedValue({}, (*self._machine.root, NOWHERE)))
            if slot.card:
                self._card(slot.card, at)
            if slot.card and slot.ref:
                self._taken.used.add(slot.ref.path)
        self._meet()

    def _card(self, card: Resource, at: Path) -> None:
        self._taken.use(card, ("key",), ("machine",), ("primary",))
        if mac := card.flat.get(("mac",)):
            self._taken.put((*at, "macAddress"), mac)
        for i in card.positions("dns"):
            place = (*at, "ipv4", "subnet", 0, "dnsservers", i, "ipaddress")
            self._taken.put(place, card.flat["dns", i])
        counts = {"ipv4": 0, "ipv6": 0}
        configurations = card.positions("addresses")
        configurations.sort(key=lambda i: not _is_true(card, "addresses", i, "primary"))
        for i in configurations:
            family = _family(card, i)
            self._taken.use(card, ("addresses", i, "primary"), ("addresses", i, "version"))
            private = card.flat.get(("addresses", i, "private"))
            if length := card.flat.get(("addresses", i, "length")):
                self._block((*at, family, "ipAddressBlock", i), private, length)
                continue
            address = (*at, family, "ipAddress", counts[family])
            counts[family] += 1
            if private:
                self._taken.put((*address, "privateIpAddress"), private)
            self._public(card, i, address)
            if family == "ipv4":
                self._subnet(card, i, at)

    def _block(self, place: Path, private: MappedValue | None, length: MappedValue) -> None:
        self._taken.put((*place, "prefix"), length)
        if private:
            address = str(private.value).partition("/")[0]
            self._taken.put((*place, "address"), MappedValue(address, private.path))

    def _public(self, card: Resource, i: int, address: Path) -> None:
        ref = card.flat.get(("addresses", i, "public"))
        said = card.flat.get(("addresses", i, "address"))
        sku = card.flat.get(("addresses", i, "sku"))
        found = self._stock.find(ResourceKind.ADDRESS, str(ref.value)) if ref else None
        if ref and found:
            said, sku = said or found.flat.get(("address",)), sku or found.flat.get(("sku",))
            self._taken.use(found, ("key",), ("sku",))
            self._taken.used.add(ref.path)
        if said:
            self._put_public(address, said, sku)
        elif ref and not found:
            self._pending.append((address, ref.path))

    def _put_public(self, address: Path, public: MappedValue, sku: MappedValue | None) -> None:
        if sku and str(sku.value).lower() == "standard":
            n = sum(place[:2] == _BALANCED for place in self._taken.flat)
            at = (*_BALANCED, n)
            self._taken.used.add(sku.path)
            self._taken.put((*at, "frontendIpAddress"), _bracketed(public))
            if private := self._taken.flat.get((*address, "privateIpAddress")):
                self._taken.put((*at, "privateIpAddress"), _bracketed(private))
        elif "ipv4" in address:
            self._taken.put((*address, "publicIpAddress"), public)

    def _subnet(self, card: Resource, i: int, at: Path) -> None:
        ref = card.flat.get(("addresses", i, "subnet"))
        subnet = self._stock.subnet(str(ref.value)) if ref else None
        around = ("addresses", i, "prefixes")
        said = [kept for place, kept in card.flat.items() if place[:3] == around]
        ranges = said or (subnet.prefixes() if subnet else [])
        choice = _range(ranges, card.get("addresses", i, "private"))
        if choice is None:
            return
        if ref and subnet:
            inner = ("subnets", subnet.position)
            self._taken.use(subnet.piece, ("key",), (*inner, "id"), (*inner, "name"))
            self._taken.used.add(ref.path)
        address, _, prefix = str(choice.value).partition("/")
        known = [
            place
            for place, kept in self._taken.flat.items()
            if place[:5] == (*at, "ipv4", "subnet") and place[6:] == ("address",)
        ]
        same = [place for place in known if self._taken.flat[place].value == address]
        place = same[0][:6] if same else (*at, "ipv4", "subnet", len(known))
        self._taken.put((*place, "address"), MappedValue(address, choice.path))
        self._taken.put((*place, "prefix"), MappedValue(prefix, choice.path))

    def _meet(self) -> None:
        """Give the VM's own public addresses to the configurations that only have ids of some."""
        said_already = _said(self._taken)
        words = _words(self._machine, "public")
        public = [one for one in words if one.value not in said_already]
        if len(public) == len(self._pending):
            for (address, ref), said in zip(self._pending, public, strict=True):
                self._taken.used.add(ref)
                self._put_public(address, said, None)


def _family(card: Resource, i: int) -> str:
    says = card.get("addresses", i, "version").lower()
    return "ipv6" if says == "ipv6" or ":" in card.get("addresses", i, "private") else "ipv4"


def _bracketed(address: MappedValue) -> MappedValue:
    """Return an address as the load balancer metadata has it: IPv6 in brackets (S16)."""
    return MappedValue(f"[{address.value}]", address.path) if ":" in str(address.value) else address


def _range(ranges: list[MappedValue], private: str) -> MappedValue | None:
    """Return the IPv4 range of a subnet that an address is in, or the first of them."""
    fitting = [one for one in ranges if ":" not in str(one.value)]
    for one in fitting:
        try:
            if ip_address(private) in ip_network(str(one.value)):
                return one
        except ValueError:
            # No address yet, or one that only a document has: any range will do.
            break
    return fitting[0] if fitting else None


def _spread(machine: Resource, slots: list[_Slot], taken: AssembledVm) -> None:
    """Put the VM's own lists of addresses on as many interfaces as it has.

    The lists do not say which address is whose. The tools write them interface by interface, so the
    nth IPv4 address goes to the nth, what is too many to the last, and an IPv6 address to the
    interface of the address before it.
    """
    private, public, mac = (_words(machine, name) for name in _EXTRAS)
    count = max(len(slots), len(mac), 1)
    order = {slot.position: n for n, slot in enumerate(slots)}
    order |= {n: n for n in range(len(slots), count)}
    if count > 1:
        for n in range(count):
            taken.put((*_NIC, n), MappedValue({}, (*machine.root, NOWHERE)))
    for i, one in enumerate(mac):
        taken.put((*_NIC, order[i], "macAddress"), one)
    places: list[Path] = []
    families = {"ipv4": [0] * count, "ipv6": [0] * count}
    current = -1
    for one in private:
        family = "ipv6" if ":" in str(one.value) else "ipv4"
        current = min(current + (family == "ipv4"), count - 1)
        n = order[max(current, 0)]
        address = (*_NIC, n, family, "ipAddress", families[family][n])
        families[family][n] += 1
        taken.put((*address, "privateIpAddress"), one)
        places += [address] if family == "ipv4" else []
    places = places or [(*_NIC, order[0], "ipv4", "ipAddress", 0)]
    visible = [one for one in public if ":" not in str(one.value)]
    if len(visible) != len(places):
        # Not every address has a public one: those of the primary interface are the likelier.
        places.sort(key=lambda place: [step for step in place if isinstance(step, int)])
    for address, one in zip(places, visible, strict=False):
        taken.put((*address, "publicIpAddress"), one)


def _account(machine: Resource, taken: AssembledVm) -> None:
    """Use up the VM's own lists of addresses where all of it has been said, and no other."""
    said = _said(taken)
    for name in _EXTRAS:
        words = _words(machine, name)
        paths = {word.path for word in words}
        taken.used -= paths
        if all(word.value in said for word in words):
            taken.used |= paths


def _said(taken: AssembledVm) -> set[str]:
    """Return all that is said of the network so far."""
    return {
        str(kept.value).strip("[]")
        for place, kept in taken.flat.items()
        if place[:2] in (_NIC, _BALANCED)
    }
