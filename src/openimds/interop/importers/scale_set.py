"""The VMs of a scale set, each with the name that Azure gives it.

A uniform set has `pool_0`, `pool_1`. A flexible one has eight digits that Azure draws, so others
stand in for them. Of several zones the nth VM has the nth: Azure spreads them, too.
"""

from hashlib import sha256
from string import ascii_lowercase, digits

from openimds.errors import ConfigError
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind, Values
from openimds.interop.importers.unmapped import PRESENCE, Path, written
from openimds.interop.importers.unread import Secret, Unread
from openimds.vm.schema import vm_tree

MOST_INSTANCES = 1000
"""VMs of a scale set: Azure's own limit."""
_HOST_DIGITS = digits + ascii_lowercase
_HOST_LENGTH = 6
_DRAWN_LENGTH = 8
_HOST: Path = ("compute", "osProfile", "computerName")
_SET_ID: Path = ("compute", "virtualMachineScaleSet", "id")


def instances(scale_set: Resource) -> list[Resource]:
    """Return the VMs of a scale set, and an interface for each of its configurations."""
    parts = []
    for number in range(_capacity(scale_set)):
        machine = _machine(scale_set, number)
        parts += [machine, *_cards(scale_set, machine)]
    return parts


def _capacity(scale_set: Resource) -> int:
    value = scale_set.values.get(("capacity",))
    if value is None:
        return 0
    count = str(value.value)
    if count.isascii() and count.isdigit() and int(count[:9]) <= MOST_INSTANCES:
        return int(count)
    scale_set.unread[value.path] = Unread(f"it is not a whole number from 0 to {MOST_INSTANCES}")
    return 0


def _name(scale_set: Resource) -> MappedValue:
    """Return the name of a set.

    Raises:
        ConfigError: it has none, or a secret one.
    """
    value = scale_set.values.get(("name",))
    if value is None:
        where, expected = written(scale_set.root), "a member name"
        raise ConfigError(where, "a scale set without a name", expected)
    if isinstance(value.value, Secret):
        where, expected = written(value.path), "a name that messages may show"
        raise ConfigError(where, "a name made of a secret", expected)
    return value


def _machine(scale_set: Resource, number: int) -> Resource:
    """Return the nth VM; remarks about the set are with the first."""
    root = scale_set.root
    members = vm_tree().members
    values: Values = {
        place: value for place, value in scale_set.values.items() if place[0] in members
    }
    set_name = _name(scale_set)
    tail = f"virtualMachines/{number}"
    is_flexible = scale_set.get("mode").lower() == "flexible"
    is_first = number == 0
    unread = dict(scale_set.unread) if is_first else {}
    stand_ins = set(scale_set.stand_ins) if is_first else set()
    set_id = scale_set.get("setId")
    if is_flexible:
        seed = f"{set_name.value}\0{number}".encode()
        name = f"{set_name.value}_{sha256(seed).hexdigest()[:_DRAWN_LENGTH]}"
        stand_ins |= {set_name.path} if is_first else set()
        if set_id:
            values[_SET_ID] = MappedValue(set_id, set_name.path)
        elif is_first:
            unread.setdefault(
                set_name.path, Unread("the set's id needs --subscription and --resource-group")
            )
    else:
        name = f"{set_name.value}_{number}"
        values["compute", "vmScaleSetName"] = set_name
        if set_id:
            values["compute", "resourceId"] = MappedValue(f"{set_id}/{tail}", set_name.path)
        if prefix := scale_set.values.get(("prefix",)):
            values[_HOST] = MappedValue(f"{prefix.value}{_host_digits(number)}", prefix.path)
    zones = [
        value for place, value in sorted(scale_set.values.items(), key=str) if place[0] == "zones"
    ]
    if zones:
        values["compute", "zone"] = zones[number % len(zones)]
    values["name",] = MappedValue(name, set_name.path)
    values["key",] = MappedValue(f"{scale_set.get('key')}/{tail}", (*root, PRESENCE))
    ignored = scale_set.ignored | {
        value.path
        for place, value in scale_set.values.items()
        if place[0] in ("capacity", "mode", "prefix", "zones", "key")
    }
    return Resource(ResourceKind.MACHINE, root, values, ignored, scale_set.names, unread, stand_ins)


def _cards(scale_set: Resource, machine: Resource) -> list[Resource]:
    """Return the interfaces of one VM."""
    cards = []
    for position in scale_set.positions("cards"):
        values: Values = {
            place[2:]: value
            for place, value in scale_set.values.items()
            if place[:2] == ("cards", position) and len(place) > len(("cards", position))
        }
        values["machine",] = machine.values["key",]
        cards.append(Resource(ResourceKind.CARD, scale_set.root, values, set(), []))
    return cards


def _host_digits(number: int) -> str:
    """Return the number of a VM in base 36, as its host name ends (S15)."""
    text = ""
    for _ in range(_HOST_LENGTH):
        number, rest = divmod(number, len(_HOST_DIGITS))
        text = _HOST_DIGITS[rest] + text
    return text
