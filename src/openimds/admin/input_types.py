"""The JSON types of request bodies, made from the rows of their parameters."""

from collections.abc import Iterable
from types import GenericAlias
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, defstruct

from openimds.parameters import Parameter, parse_time

_KINDS: dict[type, Any] = {tuple: list[str]}


def parameter_type(row: Parameter) -> Any:  # noqa: ANN401 - a type form
    """Return the type of a parameter's value, with its bounds and its help."""
    if row.choices:
        return Annotated[Literal[row.choices], Meta(description=row.help)]
    low, high = row.minimum, row.maximum
    if row.type in {int, float}:
        bounds = Meta(ge=low, le=high, description=row.help)
    else:
        length = None if low is None else int(low), None if high is None else int(high)
        bounds = Meta(min_length=length[0], max_length=length[1], description=row.help)
    if row.convert is parse_time:
        bounds = Meta(description=row.help, extra_json_schema={"format": "date-time"})
    if row.takes_whole:
        return Annotated[str, bounds] | int
    return Annotated[_KINDS.get(row.type, row.type), bounds]


def object_type(name: str, rows: Iterable[Parameter], tag: tuple[str, str] | None = None) -> Any:  # noqa: ANN401 - a type form
    """Return the type of an object with these members in camelCase, and no others.

    `tag` is a member with one fixed value, and that value. Null counts as absent.
    """
    members: list[Any] = []
    for row in rows:
        kind = parameter_type(row)
        members.append(
            (row.name, kind) if row.required else (row.name, kind | UnsetType | None, UNSET)
        )
    return defstruct(
        name,
        members,
        rename="camel",
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field=tag[0] if tag else None,
        tag=tag[1] if tag else None,
    )


def list_type(item: Any) -> Any:  # noqa: ANN401 - a type form
    """Return the list type of an item type made at run time."""
    return GenericAlias(list, (item,))


def page_type(name: str, item: Any, *more: tuple[str, Any]) -> Any:  # noqa: ANN401 - a type form
    """Return the page type of an item type; `more` are other members."""
    members = [("items", list_type(item)), ("next", str | None), *more]
    return defstruct(name, members, frozen=True)
