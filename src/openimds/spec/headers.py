"""The headers of an answer, in the order in which they were recorded."""

from msgspec import Struct

from openimds.spec.evidence import Evidence, observed

SERVER = "IMDS/150.870.65.1854"
"""The newest recorded value of `Server` (2026-02). Some clients look for the word IMDS in it."""

JSON_MEDIA = "application/json; charset=utf-8"
TEXT_MEDIA = "text/plain; charset=utf-8"


class HeaderOrder(Struct, frozen=True):
    """Which headers an answer of one family carries, in order."""

    family: str
    names: tuple[str, ...]
    evidence: Evidence


HEADER_ORDERS: dict[str, HeaderOrder] = {
    row.family: row
    for row in (
        HeaderOrder(
            "general",
            ("Content-Type", "Server", "x-ms-request-id", "Date", "Content-Length"),
            observed("S29", note="instance, 2026-02-07"),
        ),
        HeaderOrder(
            "identity",
            ("Content-Type", "Server", "Date", "Content-Length"),
            observed("S29", note="token, 2024-03-07: no x-ms-request-id"),
        ),
    )
}
