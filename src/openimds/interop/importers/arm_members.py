"""The members of a template by their names, in which letter case does not matter."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from openimds.interop.importers.unread import UnreadError

Named: TypeAlias = dict[str, tuple[str, object]]
"""Values by their names in lower case, each with the spelling of its name."""


class CopyLoop(Struct, frozen=True):
    """A variable that a loop makes."""

    loop: dict[str, Any]


def by_lower_name(members: object) -> Named:
    """Return members by their names in lower case, each with its spelling."""
    if not isinstance(members, dict):
        return {}
    return {str(name).lower(): (str(name), value) for name, value in members.items()}


def variables_of(members: object) -> Iterator[tuple[str, tuple[str, object]]]:
    """Yield the variables by name in lower case, those that loops make as a `CopyLoop`."""
    for lower, (name, value) in by_lower_name(members).items():
        if lower == "copy" and isinstance(value, list):
            for loop in filter(is_loop, value):
                yield loop["name"].lower(), (loop["name"], CopyLoop(loop))
        else:
            yield lower, (name, value)


def functions_of(groups: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the functions of a template, by namespace and name in lower case."""
    for group in groups if isinstance(groups, list) else []:
        members = group.get("members") if isinstance(group, dict) else None
        for lower, (_, function) in by_lower_name(members).items():
            if isinstance(function, dict):
                yield f"{group.get('namespace')}.{lower}".lower(), function


def is_loop(value: object) -> bool:
    """Tell whether a value is a loop with a name."""
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def member_of(owner: object, key: object) -> object:
    """Return a member of an object, or an element of a list.

    Raises:
        UnreadError: there is none.
    """
    if isinstance(owner, dict) and isinstance(key, str):
        by_name = by_lower_name(owner)
        if key.lower() in by_name:
            return by_name[key.lower()][1]
    elif isinstance(owner, list) and isinstance(key, int) and 0 <= key < len(owner):
        return owner[key]
    raise UnreadError("a member or an element that the value does not have")


def found(members: Mapping[str, Any], name: str, what: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the member of a name; `what` it is stands in the error.

    Raises:
        UnreadError: there is none.
    """
    if name not in members:
        raise UnreadError(f"the template has no {what} of that name")
    return members[name]
