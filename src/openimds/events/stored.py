"""Stored rows of events, scenarios and the clock: read, or reported as unreadable."""

from typing import TypeVar

import msgspec.json

from openimds.errors import BAD_JSON, Error

T = TypeVar("T")


class UnreadableRowError(Error):
    """A stored row that is damaged, or that another release wrote in another shape."""


def decode(body: bytes, kind: type[T]) -> T:
    """Decode a stored row.

    Raises:
        UnreadableRowError: it does not fit.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except BAD_JSON as error:
        reason = str(error).partition("\n")[0]
        raise UnreadableRowError(
            f"the row is damaged, or another release wrote it ({reason}); use that release, or "
            "restore a backup"
        ) from None
