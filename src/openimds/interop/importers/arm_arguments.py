"""The arguments of functions in ARM's expressions, by their types."""

import json


def text_of(value: object) -> str:
    """Return a value as `string()` and `concat()` write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def as_text(value: object) -> str:
    """Return an argument that has to be a text; else raise TypeError."""
    if not isinstance(value, str):
        raise TypeError
    return value


def as_whole(value: object) -> int:
    """Return an argument that has to be a whole number; else raise TypeError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def as_truth(value: object) -> bool:
    """Return an argument that has to be true or false; else raise TypeError."""
    if not isinstance(value, bool):
        raise TypeError
    return value
