"""Every refusal, one row each: status, headers, exact body, evidence.

A row with an empty category serves every category that has no row of its own under that key. Words
in braces are blanks that the refusal fills, written as JSON text.
"""

from msgspec import Struct

from openimds.facts.evidence import Evidence
from openimds.facts.headers import JSON_MEDIA


class RefusalRow(Struct, frozen=True):
    """One refusal. `body` is what goes on the wire, to the byte, once its blanks are filled."""

    key: str
    category: str
    status: int
    body: str
    evidence: Evidence
    media: str = JSON_MEDIA
    headers: tuple[str, ...] = ()
    """Names of headers that come on top, whose values the refusal knows."""
    family: str = ""
    """The family of headers, where it is not that of the category."""


def find_row(rows: tuple[RefusalRow, ...], key: str, category: str) -> RefusalRow:
    """Return the row of `key` for `category`, or else the row for every category.

    Raises:
        KeyError: no such row.
    """
    for wanted in (category, ""):
        for row in rows:
            if row.key == key and row.category == wanted:
                return row
    raise KeyError(key, category)
