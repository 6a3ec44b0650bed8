"""YAML by PyYAML's parser and resolvers, composed here in one pass.

PyYAML's own composer keeps the last of two equal names in silence, and takes four times as long for
a fleet of ten thousand VMs. The meaning is that of its safe loader but for this: a name stands once
in a mapping, and a date is text, because every leaf of a document is.
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
"""What the parser gives: PyYAML's types do not say which members an event has."""


def load(text: str) -> object:
    """Return the one document in `text`.

    Raises:
        ValueError: it is not YAML, holds a tag that is not safe, or a name twice.
    """
    try:
        return _Composer(text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"{error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from None


class _Composer:
    """Makes plain values of the parser's events."""

    def __init__(self, text: str) -> None:
        self._next: Callable[[], _Event] = Parser(text).get_event
        self._scalar_of = SafeConstructor().construct_object
        self._anchored: dict[str, object] = {}

    def document(self) -> object:
        """Return the value of the only document; an empty text is nothing."""
        self._next()  # the start of the stream
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self._value(self._next())
        self._next()  # the end of the document
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            raise ValueError(f"a second document{_line(after)}")
        return value

    def _value(self, event: _Event) -> object:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            value = self._scalar(event)
        elif kind is not yaml.AliasEvent and event.tag not in _COLLECTIONS:
            raise ValueError(f"the tag {event.tag}, which is not safe here{_line(event)}")
        elif kind is yaml.MappingStartEvent:
            value = self._mapping()
        elif kind is yaml.SequenceStartEvent:
            value = self._sequence()
        else:
            # An alias. Its anchor is known once the anchored value is whole, so no value holds
            # itself, and what stands in many places is one object, not many.
            if event.anchor not in self._anchored:
                raise ValueError(f"the alias *{event.anchor} of no value before it{_line(event)}")
            return self._anchored[event.anchor]
        if event.anchor:
            self._anchored[event.anchor] = value
        return value

    def _scalar(self, event: _Event) -> object:
        value: str = event.value
        tag = event.tag
        if tag is None or tag == "!":
            tag = _tag(value) if event.implicit[0] and tag is None else _STR
        if tag in _TEXT_TAGS:
            return value
        node = yaml.ScalarNode(tag, value, event.start_mark, event.end_mark)
        try:
            return self._scalar_of(node)
        except (ValueError, LookupError):
            raise ValueError(f'"{value}", which is not of its tag{_line(event)}') from None

    def _sequence(self) -> list[object]:
        values = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            values.append(self._value(event))
        return values

    def _mapping(self) -> dict[object, object]:
        members: dict[object, object] = {}
        under: list[dict[object, object]] | None = None
        while type(event := self._next()) is not yaml.MappingEndEvent:
            if type(event) not in (yaml.ScalarEvent, yaml.AliasEvent):
                raise ValueError(f"a name that is no scalar{_line(event)}")
            if _is_merge(event) and under is None:
                under = _mappings(self._value(self._next()), event)
                continue
            name = self._value(event)
            if isinstance(name, list | dict):
                raise ValueError(f"a name that is no scalar{_line(event)}")
            if name in members or _is_merge(event):
                raise DuplicateNameError(f'the name "{name}" twice in one mapping{_line(event)}')
            members[name] = self._value(self._next())
        for mapping in under or ():
            members = mapping | members
        return members


def _is_merge(event: _Event) -> bool:
    """Tell whether a key is the one that lays other mappings under this one."""
    return bool(event.__class__ is yaml.ScalarEvent and event.implicit[0] and event.value == "<<")


def _mappings(value: object, event: _Event) -> list[dict[object, object]]:
    """Return the mappings behind a merge key; of equal names in them the first one counts."""
    given = value if isinstance(value, list) else [value]
    mappings = [one for one in given if isinstance(one, dict)]
    if len(mappings) < len(given):
        raise ValueError(f"something other than mappings behind <<{_line(event)}")
    return mappings


def _tag(value: str) -> str:
    """Return what a plain scalar is by its looks."""
    for tag, pattern in _RESOLVERS.get(value[:1], ()):
        if pattern.match(value):
            return tag
    return _STR


def _line(event: _Event) -> str:
    return f" (line {event.start_mark.line + 1})"
