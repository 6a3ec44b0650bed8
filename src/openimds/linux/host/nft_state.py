"""Read the rules in force: our tables, from the JSON of `nft`."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec.json
from msgspec import Struct, field

from openimds.linux.host.commands import Run, ToolError
from openimds.linux.host.nft_rules import REASONS, STAMP, TABLE

FAMILIES = ("arp", "bridge", "inet")

Expected: TypeAlias = Callable[[str], Mapping[str, str]]
"""Returns, by family, the listing of each table that a text of rules makes."""
_TRIAL = "nft -f - && exec nft -s list ruleset"
_NAMESPACES = (("unshare", "--net"), ("unshare", "--user", "--map-root-user", "--net"))
"""Commands that run another in an empty network; the second one needs no privilege."""
_HEAD = re.compile(r"^table (\w+) ", re.MULTILINE)
_ELEMENTS = re.compile(r"elements = \{([^{}]*)\}")
_COUNT = re.compile(r"^\s*ct count over (\d+)$", re.MULTILINE)
_TRIALS = 16
"""So many listings are remembered."""


class Element(Struct, frozen=True):
    """An element of a set: its parts, the VM in its comment, and its counter."""

    parts: tuple[str, ...]
    vm: str = ""
    packets: int = 0


class NftTable(Struct, frozen=True):
    """One of our tables: fingerprint, dropped packets by reason, sets by name.

    `listing` is everything that it does, as text: the JSON of nft lacks parts, such as flags.
    """

    stamp: str = ""
    listing: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    sets: dict[str, tuple[Element, ...]] = field(default_factory=dict)

    @property
    def bound(self) -> dict[tuple[str, ...], str]:
        """The VMs by interface, hardware address and source address."""
        elements = (*self.sets.get("tied4", ()), *self.sets.get("tied6", ()))
        return {element.parts: element.vm for element in elements}

    @property
    def most_open(self) -> int:
        """The most open connections of each address; 0: the kernel counts none."""
        found = _COUNT.search(self.listing)
        return int(found[1]) if found else 0

    def counted(self, name: str, *parts: str) -> int:
        """Return the packets that one element of a set has counted."""
        elements = self.sets.get(name, ())
        return sum(element.packets for element in elements if element.parts == parts)


def tables(run: Run) -> dict[str, NftTable]:
    """Return our existing tables by family.

    Raises:
        ToolError: nft is missing, or this process may not read the rules.
    """
    # Not as JSON, see `_objects`.
    lines = run(("nft", "list", "tables"), "").splitlines()
    families = [line.split()[1] for line in lines if line.endswith(f" {TABLE}")]
    return {
        family: _table(
            _objects(run(("nft", "-j", "list", "table", family, TABLE), "")),
            _listing(run(("nft", "-s", "list", "table", family, TABLE), "")),
        )
        for family in FAMILIES
        if family in families
    }


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the listed objects; of a dormant table nft 1.0.6 prints half, so none."""
    try:
        objects: list[dict[str, Any]] = msgspec.json.decode(text)["nftables"]
    except msgspec.DecodeError:
        return []
    return objects


def expected_by(run: Run) -> Expected:
    """Return the function that tries a text of rules in an empty network namespace.

    So the rules in force are compared with those that this kernel and this `nft` make of the text,
    and not with the text itself, of which `nft` lists another form.
    """

    @lru_cache(_TRIALS)
    def expected(text: str) -> Mapping[str, str]:
        """Return the listings; raises ToolError if no namespace can be had."""
        for command in _NAMESPACES:
            try:
                listed = run((*command, "sh", "-c", _TRIAL), text)
            except ToolError as error:
                failure = error
            else:
                _, *parts = _HEAD.split(listed)
                return {
                    family: _listing(f"table {family} {rest}")
                    for family, rest in zip(parts[::2], parts[1::2], strict=True)
                }
        raise failure

    return expected


def _listing(text: str) -> str:
    """Return a listing of `nft -s`, without counts, with elements in order."""
    return _ELEMENTS.sub(_in_order, text).strip()


def _in_order(found: re.Match[str]) -> str:
    # No name has a comma: comments are escaped.
    return f"elements = {{ {', '.join(sorted(' '.join(found[1].split()).split(', ')))} }}"


def _table(objects: list[dict[str, Any]], listing: str) -> NftTable:
    counters = {item["counter"]["name"]: item["counter"] for item in objects if "counter" in item}
    sets = [item.get("set") or item.get("map") for item in objects]
    return NftTable(
        str(counters.get(STAMP, {}).get("comment", "")),
        listing,
        {name: counters[name]["packets"] for name in REASONS if name in counters},
        {item["name"]: tuple(map(_element, item.get("elem", ()))) for item in sets if item},
    )


def _element(value: Any) -> Element:  # noqa: ANN401 - a string, a pair of a map, or an object
    if isinstance(value, list):
        return Element((*_parts(value[0]), *_parts(value[1])))
    element = value.get("elem", {}) if isinstance(value, dict) else {}
    return Element(
        tuple(_parts(value)),
        unquote(element.get("comment", "")),
        element.get("counter", {}).get("packets", 0),
    )


def _parts(value: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    match value:
        case {"elem": {"val": inner}}:
            yield from _parts(inner)
        case {"concat": parts}:
            for part in parts:
                yield from _parts(part)
        case _:
            yield str(value)
