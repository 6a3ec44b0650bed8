"""The entries of VMs in the text of a fleet file, separated without parsing them.

An edit of a large file mostly changes a few entries. Those alone are parsed, in a text that has
everything else of the file and no other VM, so that every rule of the format and of `parse_fleet`
holds for them. Where that could give another value than the whole text, there is no split: another
format than JSON or block-style YAML, an anchor inside an entry, a name twice.
"""

import re
from collections.abc import Container
from hashlib import blake2b

import msgspec.json
from msgspec import MsgspecError, Raw, Struct

_VMS = "vms"
_YAML_VMS = re.compile(rb"^vms:[ \t]*(?:#[^\n]*)?\r?\n(?:[ \t]*(?:#[^\n]*)?\r?\n)*", re.MULTILINE)
_INDENT = re.compile(rb" +")
_NAME = re.compile(rb"([A-Za-z0-9_][A-Za-z0-9_.-]*):(?=[ \t\r]|$)")
_ANCHOR = re.compile(rb"(?:^|[\s\[{,:-])&[^\s&]", re.MULTILINE)
_DIGEST_BYTES = 16
_QUOTES = 2
"""Those of the name `vms`."""


class EntryDigests(Struct, frozen=True):
    """Digests of the entries of a file by name, and of the text around them."""

    around: bytes
    by_name: dict[str, bytes]


class SplitText(Struct, frozen=True):
    """The entries of a file by name, in their order, and the text around them."""

    before: bytes
    entries: dict[str, bytes]
    after: bytes
    separator: bytes

    def digests(self) -> EntryDigests:
        """Return the digests of the parts."""
        by_name = {name: _digest(entry) for name, entry in self.entries.items()}
        return EntryDigests(_digest(self.before + b"\0" + self.after), by_name)

    def with_only(self, names: Container[str]) -> bytes:
        """Return the text with these entries alone."""
        kept = (entry for name, entry in self.entries.items() if name in names)
        return self.before + self.separator.join(kept) + self.after


def split(data: bytes, file_name: str) -> SplitText | None:
    """Return the parts of the text of a file, None where that is not certain.

    For a text that has not been parsed as a whole, YAML's parts are a guess: compare the names.
    """
    ending = file_name.rpartition(".")[2].lower()
    if ending == "json":
        return _split_json(data)
    return _split_yaml(data) if ending in {"yaml", "yml"} else None


def _split_json(data: bytes) -> SplitText | None:
    try:
        members = msgspec.json.decode(data, type=dict[str, Raw])
        vms = msgspec.json.decode(members.pop(_VMS), type=dict[str, Raw])
    except (MsgspecError, KeyError):
        return None
    around = {name: _member(name, value) for name, value in members.items()}
    entries = {name: _member(name, value) for name, value in vms.items()}
    # The first of two equal names is missing here, with its quotes.
    known = sum(part.count(b'"') for part in (*around.values(), *entries.values()))
    if data.count(b'"') != known + _QUOTES:
        return None
    before = b"{" + b"".join(part + b"," for part in around.values()) + b'"vms":{'
    return SplitText(before, entries, b"}}", b",")


def _member(name: str, value: Raw) -> bytes:
    return msgspec.json.encode(name) + b":" + bytes(value)


def _split_yaml(data: bytes) -> SplitText | None:
    """Split a text whose `vms` are in block style, at their indent."""
    found = _YAML_VMS.search(data)
    indent = _INDENT.match(data, found.end()) if found else None
    if not found or not indent:
        return None
    start, end, spaces = found.end(), len(data), len(indent[0])
    places: list[tuple[str, int]] = []
    # Line by line, because one long search would hold up every other thread.
    lines = re.compile(rb"\n( {0,%d})([^ \r\n#][^\n]*)" % spaces)
    for line in lines.finditer(data, start - 1):
        if len(line[1]) < spaces:
            end = line.start() + 1
            break
        name = _NAME.match(line[2])
        if not name:
            return None
        places.append((name[1].decode(), line.start() + 1))
    if not places or places[0][1] != start or _has_anchor(data[start:end]):
        return None
    ends = [place for _, place in places[1:]] + [end]
    entries = {name: data[at:to] for (name, at), to in zip(places, ends, strict=True)}
    if len(entries) < len(places):
        return None
    return SplitText(data[:start], entries, data[end:], b"")


def _has_anchor(text: bytes) -> bool:
    """Tell whether another entry may refer to a value of this text."""
    return b"&" in text and _ANCHOR.search(text) is not None


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=_DIGEST_BYTES).digest()
