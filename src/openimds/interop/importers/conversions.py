"""The conversions that rows name: a foreign value in, a value of ours out, or `NOTHING`.

An empty string is how these tools say that there is nothing, so it changes to `NOTHING`; it stays
for tags alone, where an empty value is a value.
"""

import re
from collections.abc import Callable
from ipaddress import ip_network
from string import hexdigits
from typing import Final, TypeAlias

from openimds.errors import ConfigError
from openimds.parameters import describe
from openimds.vm.schema_tree import Leaf
from openimds.vm.validate import validate as fit

NOTHING: Final = object()
"""No value, or one that cannot be told."""

Change: TypeAlias = Callable[[object, str], object]

_TEXT = Leaf("")
_LARGEST = 2**63
_DIGITS = re.compile(r"\d{1,18}", re.ASCII)
_MAC_DIGITS = 12
_BYTES_IN_A_MEGABYTE = 10**6
_TRUTHS = ("true", "false")


class Reference(str):
    """A resource id that lacks subscription and group, as `resourceId()` of a template gives it.

    It is good enough to find a resource of the same template, and never goes into a document.
    """

    __slots__ = ()


def text(value: object, where: str) -> object:
    """Return a string as it is."""
    if isinstance(value, Reference) or value == "":
        return NOTHING
    if not isinstance(value, str):
        raise ConfigError(where, describe(value), "a string")
    return fit(value, _TEXT, where)


def reference(value: object, where: str) -> object:
    """Return a resource id that is only looked up."""
    return str(value) if isinstance(value, Reference) else text(value, where)


def tag(value: object, where: str) -> object:
    """Return the value of a tag, which may be empty; numbers and truths are written out."""
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
    """Return a number of megabytes in bytes; for disks a megabyte is a million of them."""
    digits = number(value, where)
    known = isinstance(digits, str) and _DIGITS.fullmatch(digits)
    return str(int(known[0]) * _BYTES_IN_A_MEGABYTE) if known else digits


def flag(value: object, where: str) -> object:
    """Return a truth as the document writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.lower() in (*_TRUTHS, ""):
        return value.lower() or NOTHING
    raise ConfigError(where, describe(value), "true or false")


def truth(value: object, where: str) -> object:
    """Return a truth as it is."""
    said = flag(value, where)
    return said if said is NOTHING else said == "true"


def there(value: object, _: str) -> object:
    """Return that there is a value, whatever it is."""
    return True if value else NOTHING


def element(_: object, __: str) -> object:
    """Return an element of which nothing is known yet."""
    return {}


def mac(value: object, where: str) -> object:
    """Return a hardware address as 12 upper-case digits."""
    said = text(value, where)
    if said is NOTHING:
        return said
    digits = str(said).translate({ord(mark): None for mark in "-:. "})
    if len(digits) != _MAC_DIGITS or not set(digits) <= set(hexdigits):
        raise ConfigError(where, describe(value), "12 hex digits, such as 00-0D-3A-AC-B2-2A")
    return digits.upper()


def words(value: object, where: str) -> object:
    """Return the words of a string with commas between them, or of a list."""
    pieces = value.split(",") if isinstance(value, str) else value
    if not isinstance(pieces, list):
        raise ConfigError(where, describe(value), "a string, with commas between its words")
    said = [text(one.strip() if isinstance(one, str) else one, where) for one in pieces]
    return tuple(one for one in said if one is not NOTHING)


def macs(value: object, where: str) -> object:
    """Return hardware addresses with commas between them."""
    found = words(value, where)
    assert isinstance(found, tuple)
    return tuple(mac(one, where) for one in found)


def cidr(value: object, where: str) -> object:
    """Return an address range."""
    said = text(value, where)
    if said is NOTHING:
        return said
    try:
        return str(ip_network(str(said), strict=False))
    except ValueError:
        raise ConfigError(where, describe(value), "a range such as 10.0.0.0/24") from None


def after(marker: str) -> Change:
    """Return the change to the name that follows a word in a resource id."""

    def change(value: object, where: str) -> object:
        parts = str(text(value, where)).split("/")
        names = dict(zip(map(str.lower, parts), parts[1:], strict=False))
        return names.get(marker) or NOTHING

    return change


def last(value: object, where: str) -> object:
    """Return the name at the end of a resource id."""
    said = reference(value, where)
    return said if said is NOTHING else str(said).rpartition("/")[2] or NOTHING


def is_system(value: object, where: str) -> object:
    """Return whether a type of identity includes the one of the system."""
    said = text(value, where)
    return said if said is NOTHING else "systemassigned" in str(said).replace(" ", "").lower()


def is_ultra(value: object, where: str) -> object:
    """Return that a disk is an Ultra disk, for a storage account type that says so."""
    return "true" if text(value, where) == "UltraSSD_LRS" else NOTHING


def unmanaged(value: object, where: str) -> object:
    """Return the empty string for a disk that has the address of a blob: it has no managed disk."""
    return NOTHING if text(value, where) is NOTHING else ""


def always(answer: str) -> Change:
    """Return the change to one answer for whatever is not empty and not false."""

    def change(value: object, _: str) -> object:
        return answer if value else NOTHING

    return change


def image(root: str) -> Change:
    """Return the change that takes the ids of images under one root, or all others for none."""
    known = ("/communitygalleries/", "/sharedgalleries/")

    def change(value: object, where: str) -> object:
        said = text(value, where)
        lower = str(said).lower()
        fits = lower.startswith(root) if root else not lower.startswith(known)
        return said if fits else NOTHING

    return change


def key_path(value: object, where: str) -> object:
    """Return where the keys of a user are."""
    said = text(value, where)
    return said if said is NOTHING else f"/home/{said}/.ssh/authorized_keys"
