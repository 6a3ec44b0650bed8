"""The row type of refusals: status, headers, exact body, evidence.

A row with an empty category serves every category without a row of its own for that key. The part
of a category behind a full stop is a dialect, which has the rows of its category where it has none.
Words in braces are blanks, filled with JSON text.
"""

from msgspec import Struct

from openimds.facts.evidence import Evidence
from openimds.facts.headers import JSON_MEDIA


class RefusalRow(Struct, frozen=True):
    """One refusal. `body`, its blanks filled, goes on the wire to the byte."""

    key: str
    category: str
    status: int
    body: str
    evidence: Evidence
    media: str = JSON_MEDIA
    headers: tuple[str, ...] = ()
    """Names of additional headers, whose values the refusal has."""
    family: str = ""
    """The header family, where it is not that of the category."""


def find_row(rows: tuple[RefusalRow, ...], key: str, category: str) -> RefusalRow:
    """Return the row of `key` for `category`, or the nearest row.

    Raises:
        KeyError: no such row.
    """
    for wanted in dict.fromkeys((category, category.partition(".")[0], "")):
        for row in rows:
            if row.key == key and row.category == wanted:
                return row
    raise KeyError(key, category)
