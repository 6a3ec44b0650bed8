"""The headers of a response, in their recorded order."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, observed

SERVER = "IMDS/150.870.65.1854"
"""The newest recorded value of `Server` (2026-02). Some clients look for the word IMDS in it."""

JSON_MEDIA = "application/json; charset=utf-8"
TEXT_MEDIA = "text/plain; charset=utf-8"
HTML_MEDIA = "text/html; charset=utf-8"

XML_MEDIA = "text/xml; charset=utf-8"

FRONT = "front"
"""The family of the front, which answers for IMDS: to HEAD, and while IMDS is down."""
INTERPOSED = "interposed"
"""The family of a server between the client and IMDS; its response brings its own `Server`."""


class HeaderOrder(Struct, frozen=True):
    """The headers of one family of responses, in order, and the value of `Server`."""

    family: str
    names: tuple[str, ...]
    evidence: Evidence
    server: str = SERVER


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
        HeaderOrder(
            FRONT,
            ("Content-Length", "Content-Type", "Server", "Date"),
            observed("S60", note="the answer to HEAD, 2025-02-04"),
            "Microsoft-IIS/10.0",
        ),
        HeaderOrder(
            INTERPOSED,
            ("Date", "Content-Type", "Content-Length"),
            chosen("of no server of Azure; the other headers of the response follow"),
            "",
        ),
    )
}
