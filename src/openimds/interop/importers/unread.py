"""Values that could not be read, and texts with a mark: secrets, stand-ins, references."""

from typing import TypeAlias

from msgspec import Struct

UNKNOWN = "\ufdd0"
"""Stands in a text for a part that only the deployment knows: a character that no text has."""


class Unread(Struct, frozen=True):
    """A value with a place in the metadata that could not be read.

    Attributes:
        reason: the cause, and the remedy where there is one.
        expression: the text of the input; empty if there is none.
    """

    reason: str
    expression: str = ""


class UnreadError(Exception):
    """An expression cannot be evaluated; its text is the reason, without any value."""


class Secret(str):
    """A text for no message: of a secure parameter, or marked as sensitive."""

    __slots__ = ()


class StandIn(str):
    """A text that Azure makes another one of: its hashes are not published."""

    __slots__ = ()


class Reference(str):
    """A resource id of unknown subscription or group.

    It finds a resource of the same template, and never goes into a document.
    """

    __slots__ = ("expression",)
    expression: str


class Planned(str):
    """The address of a planned resource, which has no id yet."""

    __slots__ = ()


class ExpressionKey(str):
    """The name of a member that is an expression, with its value."""

    __slots__ = ("value",)
    value: object


Mark: TypeAlias = type[Secret] | type[StandIn]


def marked(value: object, mark: Mark) -> object:
    """Return a value with a mark on each of its texts; a secret stays one."""
    if isinstance(value, dict):
        return {name: marked(member, mark) for name, member in value.items()}
    if isinstance(value, list):
        return [marked(item, mark) for item in value]
    return mark(value) if isinstance(value, str) and not isinstance(value, Secret) else value


def has_mark(value: object, mark: Mark) -> bool:
    """Tell whether a value, or one inside it, has a mark."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, mark):
            return True
    return False
