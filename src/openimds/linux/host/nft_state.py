"""Read the rules in force: our tables, from the JSON of `nft`."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec.json
from msgspec import Struct, field

from openimds.linux.host.commands import Run
from openimds.linux.host.nft_rules import REASONS, STAMP, TABLE

FAMILIES = ("bridge", "inet")


class Element(Struct, frozen=True):
    """An element of a set: its parts, the VM in its comment, and its counter."""

    parts: tuple[str, ...]
    vm: str = ""
    packets: int = 0


class NftTable(Struct, frozen=True):
    """One of our tables: fingerprint, dropped packets by reason, sets by name."""

    stamp: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    sets: dict[str, tuple[Element, ...]] = field(default_factory=dict)

    @property
    def bound(self) -> dict[tuple[str, ...], str]:
        """The VMs by interface, hardware address and source address."""
        elements = (*self.sets.get("tied4", ()), *self.sets.get("tied6", ()))
        return {element.parts: element.vm for element in elements}

    def counted(self, name: str, *parts: str) -> int:
        """Return the packets that one element of a set has counted."""
        elements = self.sets.get(name, ())
        return sum(element.packets for element in elements if element.parts == parts)


def tables(run: Run) -> dict[str, NftTable]:
    """Return our existing tables by family.

    Raises:
        ToolError: nft is missing, or this process may not read the rules.
    """
    listed = _objects(run(("nft", "-j", "list", "tables"), ""))
    listing = [item["table"] for item in listed if "table" in item]
    families = [table["family"] for table in listing if table["name"] == TABLE]
    return {
        family: _table(_objects(run(("nft", "-j", "list", "table", family, TABLE), "")))
        for family in FAMILIES
        if family in families
    }


def _objects(text: str) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = msgspec.json.decode(text)["nftables"]
    return objects


def _table(objects: list[dict[str, Any]]) -> NftTable:
    counters = {item["counter"]["name"]: item["counter"] for item in objects if "counter" in item}
    sets = [item.get("set") or item.get("map") for item in objects]
    return NftTable(
        str(counters.get(STAMP, {}).get("comment", "")),
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
