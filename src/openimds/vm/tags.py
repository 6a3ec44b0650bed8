"""Tags: three ways to write them, two wire forms, one meaning.

A fleet file has a mapping; the document has a string (`name:value;name:value`, nothing escaped) and
a list of names with values. Both wire forms always have the same tags. In a string alone, a piece
without a colon belongs to the value before it, because values may contain semicolons.
"""

from collections.abc import Mapping
from typing import Any

from openimds.errors import ConfigError

FORMS = ("tags", "tagsList")
"""The members of `compute` that hold the tags, as a string and as a list."""

Pairs = list[tuple[str, str]]


def to_wire(forms: Mapping[str, object], where: str) -> dict[str, object]:
    """Return both wire forms of tags written under one key of `FORMS`, or under both.

    Each value has one of the three shapes, already validated. A string is kept to the letter, and
    so is the order of a list.

    Raises:
        ConfigError: the two differ.
    """
    by_form = {name: pairs(value) for name, value in forms.items()}
    # The list is exact: the string cannot tell a semicolon in a value from a separator.
    tags = by_form.get("tagsList", by_form.get("tags", []))
    text = forms.get("tags")
    if isinstance(text, str):
        agree = by_form["tags"] == tags
    else:
        text = join(by_form.get("tags", tags))
        agree = by_form.get("tags", tags) in (tags, sorted(tags))
    if not agree and join(tags) != text:
        raise ConfigError(
            f"{where}.tagsList", "other tags than in tags", "the same tags", "Leave one of them out"
        )
    return {**wire_forms(tags), "tags": text}


def wire_forms(tags: Pairs) -> dict[str, object]:
    """Return the two members of `compute` for tags."""
    return {
        "tags": join(tags),
        "tagsList": [{"name": name, "value": value} for name, value in tags],
    }


def as_mapping(text: str, listed: list[dict[str, str]]) -> dict[str, str] | None:
    """Return tags in both wire forms as a mapping, or None if it loses something.

    A mapping can be patched tag by tag. It cannot keep an order of its own, a name twice, or a
    string that differs from the list.
    """
    tags = pairs(listed)
    mapping = dict(tags)
    is_exact = sorted(mapping.items()) == tags and text == join(tags)
    return mapping if is_exact else None


def join(tags: Pairs) -> str:
    """Return the string form."""
    return ";".join(f"{name}:{value}" for name, value in tags)


def split(text: str) -> Pairs:
    """Return the tags in the string form."""
    tags: Pairs = []
    for piece in text.split(";") if text else []:
        name, colon, value = piece.partition(":")
        if colon or not tags:
            tags.append((name, value))
        else:
            last, before = tags[-1]
            tags[-1] = (last, f"{before};{piece}")
    return tags


def pairs(value: Any) -> Pairs:  # noqa: ANN401 - any of the three shapes
    """Return the tags in a validated value; those of a mapping are sorted."""
    if isinstance(value, str):
        return split(value)
    if isinstance(value, dict):
        return sorted(value.items())
    return [(tag.get("name", ""), tag.get("value", "")) for tag in value]
