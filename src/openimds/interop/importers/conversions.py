"""Conversions of mapping rows: foreign value in, VM's value or `NOTHING` out.

These tools write an empty string for a missing value, so it becomes `NOTHING`; only the value of a
tag may be empty.
"""

import re
from collections.abc import Callable
from ipaddress import ip_network
from string import hexdigits
from typing import Final, TypeAlias

from openimds.errors import ConfigError
from openimds.interop.importers.unread import Planned, Reference, Unread
from openimds.parameters import describe
from openimds.vm.schema_tree import Leaf
from openimds.vm.validate import validate as fit

NOTHING: Final = object()
"""No value, or one that cannot be evaluated."""

Conversion: TypeAlias = Callable[[object, str], object]
"""Takes a value and its path for messages; raises ConfigError for an impossible value."""

_TEXT = Leaf("")
_LARGEST = 2**63
_DIGITS = re.compile(r"\d{1,18}", re.ASCII)
_GUID = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_MAC_DIGITS = 12
_BYTES_IN_A_MEGABYTE = 10**6
_BOOLEANS = ("true", "false")


def text(value: object, where: str) -> object:
    """Return a string as it is."""
    if isinstance(value, Reference | Planned) or value == "":
        return NOTHING
    if not isinstance(value, str):
        raise ConfigError(where, describe(value), "a string")
    return fit(value, _TEXT, where)


def numbered(*names: str) -> Conversion:
    """Return the conversion of a text, or of its number in an enumeration.

    PowerShell writes the numbers. `names` has the texts in the order of the enumeration.
    """

    def convert(value: object, where: str) -> object:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
            return names[value]
        return text(value, where)

    return convert


caching = numbered("None", "ReadOnly", "ReadWrite")
create_option = numbered("FromImage", "Empty", "Attach")
system = numbered("Windows", "Linux")
family = numbered("IPv4", "IPv6")
_identity_type = numbered("SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned", "None")


def reference(value: object, where: str) -> object:
    """Return a resource id that is only used to find a resource."""
    return str(value) if isinstance(value, Reference | Planned) else text(value, where)


def tag(value: object, where: str) -> object:
    """Return the value of a tag, which may be empty; numbers and booleans become text."""
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return value if value == "" else text(value, where)


def number(value: object, where: str) -> object:
    """Return a whole number in digits."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if -_LARGEST <= value < _LARGEST:
            return str(value)
        raise ConfigError(where, "a number of more than 64 bits", "a whole number")
    if isinstance(value, str):
        return text(value, where)
    raise ConfigError(where, describe(value), "a whole number")


def domain(value: object, where: str) -> object:
    """Return the number of a fault domain; Terraform writes -1 for none."""
    digits = number(value, where)
    return NOTHING if digits == "-1" else digits


def in_bytes(value: object, where: str) -> object:
    """Return megabytes in bytes; for disks a megabyte is a million bytes."""
    digits = number(value, where)
    match = _DIGITS.fullmatch(digits) if isinstance(digits, str) else None
    return str(int(match[0]) * _BYTES_IN_A_MEGABYTE) if match else digits


def flag(value: object, where: str) -> object:
    """Return a boolean as the document writes it, as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.lower() in (*_BOOLEANS, ""):
        return value.lower() or NOTHING
    raise ConfigError(where, describe(value), "true or false")


def truth(value: object, where: str) -> object:
    """Return a boolean as bool."""
    word = flag(value, where)
    return word if word is NOTHING else word == "true"


def there(value: object, _: str) -> object:
    """Return True for any value that is not empty and not false."""
    return True if value else NOTHING


def element(_: object, __: str) -> object:
    """Return an empty mapping, which other rows fill."""
    return {}


def mac(value: object, where: str) -> object:
    """Return a hardware address as 12 upper-case digits."""
    address = text(value, where)
    if address is NOTHING:
        return address
    digits = str(address).translate({ord(mark): None for mark in "-:. "})
    if len(digits) != _MAC_DIGITS or not set(digits) <= set(hexdigits):
        raise ConfigError(where, describe(value), "12 hex digits, such as 00-0D-3A-AC-B2-2A")
    return digits.upper()


def words(value: object, where: str) -> object:
    """Return the words of a list, or of a string with commas between them."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ConfigError(where, describe(value), "a string, with commas between its words")
    texts = [text(item.strip() if isinstance(item, str) else item, where) for item in items]
    return tuple(word for word in texts if word is not NOTHING)


def macs(value: object, where: str) -> object:
    """Return hardware addresses with commas between them."""
    addresses = words(value, where)
    assert isinstance(addresses, tuple)
    return tuple(mac(address, where) for address in addresses)


def guid(value: object, where: str) -> object:
    """Return a GUID; a masked one, as in a shared output, could not be read."""
    digits = text(value, where)
    if digits is NOTHING or _GUID.fullmatch(str(digits)):
        return digits
    return Unread("it is not a GUID")


def cidr(value: object, where: str) -> object:
    """Return an address range."""
    prefix = text(value, where)
    if prefix is NOTHING:
        return prefix
    try:
        return str(ip_network(str(prefix), strict=False))
    except ValueError:
        raise ConfigError(where, describe(value), "a range such as 10.0.0.0/24") from None


def after(marker: str) -> Conversion:
    """Return the conversion of a resource id to the segment after a word."""

    def convert(value: object, where: str) -> object:
        parts = str(text(value, where)).split("/")
        names = dict(zip(map(str.lower, parts), parts[1:], strict=False))
        return names.get(marker) or NOTHING

    return convert


def last(value: object, where: str) -> object:
    """Return the name at the end of a resource id."""
    resource_id = reference(value, where)
    return resource_id if resource_id is NOTHING else str(resource_id).rpartition("/")[2] or NOTHING


def is_system(value: object, where: str) -> object:
    """Return whether a type of identity includes the system-assigned one."""
    kind = _identity_type(value, where)
    return kind if kind is NOTHING else "systemassigned" in str(kind).replace(" ", "").lower()


def is_ultra(value: object, where: str) -> object:
    """Return "true" for the storage account type of an Ultra disk."""
    return "true" if text(value, where) == "UltraSSD_LRS" else NOTHING


def unmanaged(value: object, where: str) -> object:
    """Return "" for a disk with the URI of a blob: it is not managed."""
    return NOTHING if text(value, where) is NOTHING else ""


def always(answer: str) -> Conversion:
    """Return the conversion of any value to one answer, unless empty or false."""

    def convert(value: object, _: str) -> object:
        return answer if value else NOTHING

    return convert


def image(root: str) -> Conversion:
    """Return the conversion that keeps image ids under a root; "" is all other roots."""
    roots = ("/communitygalleries/", "/sharedgalleries/")

    def convert(value: object, where: str) -> object:
        image_id = text(value, where)
        lower = str(image_id).lower()
        fits = lower.startswith(root) if root else not lower.startswith(roots)
        return image_id if fits else NOTHING

    return convert


def key_path(value: object, where: str) -> object:
    """Return the path of a user's authorized keys."""
    user = text(value, where)
    return user if user is NOTHING else f"/home/{user}/.ssh/authorized_keys"
