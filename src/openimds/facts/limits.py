"""The request limits of a VM."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, documented


class Limit(Struct, frozen=True):
    """One limiter class: requests a second, and concurrent requests (0: no such limit)."""

    key: str
    per_s: int
    concurrent: int
    evidence: Evidence


LIMITS: dict[str, Limit] = {
    row.key: row
    for row in (
        Limit(
            "general", 5, 0, documented("S1", "S2", note="the window that Azure uses is unknown")
        ),
        Limit(
            "identity", 20, 5, documented("S1", "S2", note="the window that Azure uses is unknown")
        ),
    )
}
