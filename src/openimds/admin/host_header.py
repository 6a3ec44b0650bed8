"""The Host header of a request: its syntax, and the name in it."""

import re
from collections.abc import Sequence

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<four>[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
    r"|(?P<name>[A-Za-z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_LARGEST_PORT = 65535
_LONGEST_SHOWN = 80


class HostHeaderError(Exception):
    """Raised for a Host that a rule refuses; its text names the fault."""


def name_in(values: Sequence[str]) -> tuple[str, bool]:
    """Return the name in Host in lower case, and whether it is an address.

    Raises:
        HostHeaderError: there is none, or more than one, or it is malformed.
    """
    if len(values) != 1:
        raise HostHeaderError(f"The request has {len(values) or 'no'} Host headers, expected one")
    text = values[0].strip(" \t")
    found = _HOST.fullmatch(text)
    if not found or int(found["port"] or 0) > _LARGEST_PORT:
        raise HostHeaderError(f'Host "{text[:_LONGEST_SHOWN]}" is not HOST or HOST:PORT')
    address = found["six"] or found["four"]
    return (address or found["name"]).lower(), bool(address)


def check_name(values: Sequence[str], names: frozenset[str], *, takes_addresses: bool) -> None:
    """Check that a request calls one of these names, or with `takes_addresses` any address.

    Raises:
        HostHeaderError: as `name_in`, or the name is another one.
    """
    name, is_address = name_in(values)
    if name not in names and not (is_address and takes_addresses):
        raise HostHeaderError(f'Host "{name}" is not a name of this server')
