"""VMs of libvirt: the XML of `virsh dumpxml`.

Names are those of libvirt's page on the domain format. A domain that does not run, and names no
tap, has only the bridge, which stands for it.
"""

import re
from typing import Any
from xml.parsers import expat

from openimds.errors import ConfigError
from openimds.interop.importers.assemble import FoundResources
from openimds.interop.importers.machines import put_interface, put_reach, put_uuid
from openimds.interop.importers.mapping import MappedValue, Resource, ResourceKind
from openimds.interop.importers.unmapped import Path

DEEPEST = 64
"""Elements inside each other; a domain of libvirt has some ten levels."""
MOST_ELEMENTS = 100_000
"""Elements of a file: thousands of domains."""
ROOT = "domain"
_TEXT = "text"
_AROUND = "<domains>"
_DECLARATION = re.compile(r"<\?xml[^>]*\?>")
_JUNK_AFTER = expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]
_EXPECTED = "a <domain>, as virsh dumpxml prints it"


def parse(text: str) -> dict[str, object]:
    """Return the domains of a text as plain values: `{"domain": […]}`.

    An element without children and attributes is its text; any other one is a mapping of its
    attributes, its text and its children, and children of one name are a list.

    Raises:
        ConfigError: it is not XML, has a document type, is too large, or has no domain.
    """
    name, value = _root(text)
    found = [one for one in ([value] if name == ROOT else _inner(value)) if isinstance(one, dict)]
    if not found:
        raise ConfigError("top level", f"XML with the root <{name[:40]}>", _EXPECTED)
    return {ROOT: found}


def _root(text: str) -> tuple[str, object]:
    """Return the name and the value of the root, or of one around several."""
    reader = _DomainReader()
    try:
        reader.parser.Parse(text.encode("utf-8", "surrogatepass"), True)  # noqa: FBT003 - no names
    except expat.ExpatError as error:
        if error.code == _JUNK_AFTER and not text.startswith(_AROUND):
            # virsh dumpxml of one domain after the other, into one file.
            return _root(f"{_AROUND}{_DECLARATION.sub('', text)}</domains>")
        where = f"line {error.lineno}, column {error.offset + 1}"
        raise ConfigError("top level", f"XML that is broken at {where}", _EXPECTED) from None
    return reader.root


def _inner(root: object) -> list[object]:
    """Return the domains right below a root: a list, or a snapshot with its domain."""
    inner = root.get(ROOT) if isinstance(root, dict) else None
    return inner if isinstance(inner, list) else [inner]


class _DomainReader:
    """Builds plain values from the events of expat.

    A document type is refused, and with it every entity: none can grow or name a file.
    """

    def __init__(self) -> None:
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.root: tuple[str, object] = ("", None)
        self._open: list[tuple[str, dict[str, Any], list[str]]] = []
        self._count = 0

    def _refuse(self, *_: object) -> None:
        raise ConfigError("top level", "XML with a document type", _EXPECTED)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MOST_ELEMENTS or len(self._open) >= DEEPEST:
            seen = f"XML of more than {MOST_ELEMENTS} elements, or of more than {DEEPEST} levels"
            raise ConfigError("top level", seen, _EXPECTED)
        members = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        self._open.append((name.rpartition(" ")[2], members, []))

    def _characters(self, text: str) -> None:
        self._open[-1][2].append(text)

    def _end(self, _: str) -> None:
        name, members, texts = self._open.pop()
        text = "".join(texts).strip()
        value: object = text
        if members:
            value = {**members, **({_TEXT: text} if text else {})}
        if not self._open:
            self.root = (name, value)
            return
        above = self._open[-1][1]
        if name not in above:
            above[name] = value
        elif isinstance(above[name], list):
            above[name].append(value)
        else:
            above[name] = [above[name], value]


def is_parsed(value: object) -> bool:
    """Tell whether a value is the result of `parse`."""
    if not isinstance(value, dict) or list(value) != [ROOT]:
        return False
    domains = value[ROOT]
    return isinstance(domains, list) and all(isinstance(one, dict) for one in domains)


def find_resources(value: object) -> FoundResources:
    """Return the VMs of parsed domains.

    Raises:
        ConfigError: a value of an impossible form.
    """
    assert isinstance(value, dict)
    found = FoundResources([])
    for i, domain in enumerate(value[ROOT]):
        found.add(_machine(domain, (ROOT, i)))
    return found


def _machine(domain: dict[str, Any], path: Path) -> Resource:
    machine = Resource(ResourceKind.MACHINE, path, {}, {(*path, "id"), (*path, "type")}, [])
    if isinstance(name := domain.get("name"), str):
        machine.values["name",] = MappedValue(name, (*path, "name"))
    put_uuid(machine, domain.get("uuid"), (*path, "uuid"))
    devices = domain.get("devices")
    below = (*path, "devices", "interface")
    cards = _cards(devices.get("interface") if isinstance(devices, dict) else None, below)
    for position, (card, at) in enumerate(cards):
        mac = _attribute(card, at, "mac", "address")
        put_interface(machine, position, mac)
        if position == 0:
            tap = _attribute(card, at, "target", "dev")
            put_reach(machine, tap or _attribute(card, at, "source", "bridge"), mac)
    return machine


def _cards(value: object, path: Path) -> list[tuple[dict[str, Any], Path]]:
    """Return the interfaces with their paths: one is no list."""
    if isinstance(value, list):
        return [(card, (*path, i)) for i, card in enumerate(value) if isinstance(card, dict)]
    return [(value, path)] if isinstance(value, dict) else []


def _attribute(card: dict[str, Any], path: Path, element: str, name: str) -> MappedValue | None:
    value = card.get(element)
    text = value.get(name) if isinstance(value, dict) else None
    return MappedValue(text, (*path, element, name)) if isinstance(text, str) else None
