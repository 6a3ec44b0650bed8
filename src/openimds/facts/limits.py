"""How often a VM may ask."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, documented


class Limit(Struct, frozen=True):
    """One limiter class: requests a second, and requests under way at once (0: no such limit)."""

    key: str
    per_s: int
    concurrent: int
    evidence: Evidence


LIMITS: dict[str, Limit] = {
    row.key: row
    for row in (
        Limit("general", 5, 0, documented("S1", "S2", note="which window Azure uses is unknown")),
        Limit("identity", 20, 5, documented("S1", "S2", note="which window Azure uses is unknown")),
    )
}
