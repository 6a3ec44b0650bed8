"""What stands in our tables of nftables now, read from the JSON of `nft`."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec.json
from msgspec import Struct, field

from openimds.linux.host.commands import Run
from openimds.linux.host.nft_rules import REASONS, STAMP, TABLE

FAMILIES = ("bridge", "inet")


class Element(Struct, frozen=True):
    """An element of a set: its parts, the VM that its comment names, and what it has counted."""

    parts: tuple[str, ...]
    vm: str = ""
    packets: int = 0


class NftTable(Struct, frozen=True):
    """One of our tables: the fingerprint of its rules, packets by reason, its sets by name."""

    stamp: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    sets: dict[str, tuple[Element, ...]] = field(default_factory=dict)

    @property
    def tied(self) -> dict[tuple[str, ...], str]:
        """The ties: interface, hardware address and source address, with the VM's name."""
        found = (*self.sets.get("tied4", ()), *self.sets.get("tied6", ()))
        return {one.parts: one.vm for one in found}

    def counted(self, name: str, *parts: str) -> int:
        """Return what one element of a set has counted, in packets."""
        return sum(one.packets for one in self.sets.get(name, ()) if one.parts == parts)


def tables(run: Run) -> dict[str, NftTable]:
    """Return our tables by family, as far as they are there.

    Raises:
        ToolError: nft is missing, or this process may not look.
    """
    listed = _objects(run(("nft", "-j", "list", "tables"), ""))
    there = [one["table"] for one in listed if "table" in one]
    families = [one["family"] for one in there if one["name"] == TABLE]
    return {
        family: _table(_objects(run(("nft", "-j", "list", "table", family, TABLE), "")))
        for family in FAMILIES
        if family in families
    }


def _objects(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(text)["nftables"]
    return found


def _table(objects: list[dict[str, Any]]) -> NftTable:
    counters = {one["counter"]["name"]: one["counter"] for one in objects if "counter" in one}
    named = [one.get("set") or one.get("map") for one in objects]
    return NftTable(
        str(counters.get(STAMP, {}).get("comment", "")),
        {name: counters[name]["packets"] for name in REASONS if name in counters},
        {one["name"]: tuple(map(_element, one.get("elem", ()))) for one in named if one},
    )


def _element(said: Any) -> Element:  # noqa: ANN401 - a string, a pair of a map, or an object
    if isinstance(said, list):
        return Element((*_parts(said[0]), *_parts(said[1])))
    whole = said.get("elem", {}) if isinstance(said, dict) else {}
    return Element(
        tuple(_parts(said)),
        unquote(whole.get("comment", "")),
        whole.get("counter", {}).get("packets", 0),
    )


def _parts(said: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    match said:
        case {"elem": {"val": value}}:
            yield from _parts(value)
        case {"concat": parts}:
            for part in parts:
                yield from _parts(part)
        case _:
            yield str(said)
