"""The row type of refusals: status, headers, exact body, evidence.

A row with an empty category serves every category without a row of its own for that key. The parts
of a category behind full stops are dialects, which have the rows before them where they have none.
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
    parts = category.split(".")
    above = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    for wanted in dict.fromkeys((*above, "")):
        for row in rows:
            if row.key == key and row.category == wanted:
                return row
    raise KeyError(key, category)
