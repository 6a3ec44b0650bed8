"""YAML by PyYAML's parser and resolvers, composed here in one pass.

PyYAML's own composer silently keeps the last of two equal names, and takes four times as long for
a fleet of ten thousand VMs. The result is that of its safe loader, with two exceptions: a name
stands once in a mapping, and a date is text, like every leaf of a document.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from openimds.errors import DuplicateNameError

try:
    from yaml.cyaml import CParser as Parser  # type: ignore[attr-defined]
except ImportError:  # pragma: no cover - only where PyYAML was built without libyaml
    from yaml import SafeLoader as Parser  # type: ignore[assignment]

_MERGE = "tag:yaml.org,2002:merge"
_STR = "tag:yaml.org,2002:str"
_COLLECTIONS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_TEXT_TAGS = {_STR, _MERGE, "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_RESOLVERS: dict[str, list[tuple[str, Any]]] = Resolver.yaml_implicit_resolvers


_Event: TypeAlias = Any
"""An event of the parser: PyYAML's types do not declare the members of an event."""
_UNFOLDED = 2**31 - 1
"""The width of a written text, in which no line is folded."""


def dump(value: object) -> str:
    """Return a JSON value as YAML in block style; members keep their order."""
    text: str = yaml.dump(
        value,
        Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
        sort_keys=False,
        allow_unicode=True,
        width=_UNFOLDED,
    )
    return text.removesuffix("...\n")


def load(text: str) -> object:
    """Return the one document in `text`; an empty text is None.

    Raises:
        ValueError: it is not YAML, holds a tag that is not safe, or a name twice.
    """
    try:
        next_event: Callable[[], _Event] = Parser(text).get_event
        next_event()  # The start of the stream.
        if type(next_event()) is yaml.StreamEndEvent:
            return None
        value = _Composer(next_event).value(next_event())
        next_event()  # The end of the document.
        after = next_event()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"{error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from None
    if type(after) is not yaml.StreamEndEvent:
        raise ValueError(f"a second document{_line(after)}")
    return value


class _Composer:
    """Plain values from the events of the parser."""

    def __init__(self, next_event: Callable[[], _Event]) -> None:
        self._next = next_event
        self._scalar_of = SafeConstructor().construct_object
        self._anchored: dict[str, object] = {}

    def value(self, event: _Event) -> object:
        """Return the value that begins with an event."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            tag = _tag(event)
            value = event.value if tag in _TEXT_TAGS else self._constructed(event, tag)
        elif kind is not yaml.AliasEvent and event.tag not in _COLLECTIONS:
            raise ValueError(f"the tag {event.tag}, which is not safe here{_line(event)}")
        elif kind is yaml.MappingStartEvent:
            value = self._mapping()
        elif kind is yaml.SequenceStartEvent:
            value = self._sequence()
        else:
            # An alias. Its anchor is set once the anchored value is whole, so no value contains
            # itself, and all aliases of an anchor are one object.
            if event.anchor not in self._anchored:
                raise ValueError(f"the alias *{event.anchor} of no value before it{_line(event)}")
            return self._anchored[event.anchor]
        if event.anchor:
            self._anchored[event.anchor] = value
        return value

    def _constructed(self, event: _Event, tag: str) -> object:
        """Return a scalar that is no text: a number, a boolean, null or binary."""
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            return self._scalar_of(node)
        except (ValueError, LookupError):
            raise ValueError(f'"{event.value}", which is not of its tag{_line(event)}') from None

    def _sequence(self) -> list[object]:
        values = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            values.append(self.value(event))
        return values

    def _mapping(self) -> dict[object, object]:
        members: dict[object, object] = {}
        merged: list[dict[object, object]] | None = None
        while type(event := self._next()) is not yaml.MappingEndEvent:
            if type(event) not in (yaml.ScalarEvent, yaml.AliasEvent):
                raise ValueError(f"a name that is no scalar{_line(event)}")
            # A merge key: unquoted, and with the mappings to lay under this one.
            is_merge = type(event) is yaml.ScalarEvent and event.value == "<<" and event.implicit[0]
            if is_merge and merged is None:
                merged = _mappings(self.value(self._next()), event)
                continue
            name = self.value(event)
            if isinstance(name, list | dict):
                raise ValueError(f"a name that is no scalar{_line(event)}")
            if name in members or is_merge:
                raise DuplicateNameError(f'the name "{name}" twice in one mapping{_line(event)}')
            members[name] = self.value(self._next())
        for mapping in merged or ():
            members = mapping | members
        return members


def _mappings(value: object, event: _Event) -> list[dict[object, object]]:
    """Return the mappings behind a merge key; the first of equal names in them counts."""
    values = value if isinstance(value, list) else [value]
    mappings = [mapping for mapping in values if isinstance(mapping, dict)]
    if len(mappings) < len(values):
        raise ValueError(f"something other than mappings behind <<{_line(event)}")
    return mappings


def _tag(event: _Event) -> str:
    """Return the tag of a scalar, for a plain one by its form."""
    if event.tag not in (None, "!"):
        return str(event.tag)
    if event.tag is None and event.implicit[0]:
        for tag, pattern in _RESOLVERS.get(event.value[:1], ()):
            if pattern.match(event.value):
                return tag
    return _STR


def _line(event: _Event) -> str:
    return f" (line {event.start_mark.line + 1})"
