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


CORRELATION_ID, REQUEST_ID = "X-CORRELATION-ID", "x-ms-request-id"
LENGTH, MEDIA, CODING = "Content-Length", "Content-Type", "Transfer-Encoding"
_BLANK_REASON = ((429, " "),)
"""The recorded phrase of 429 is one blank (S76)."""

BARE = "app_service_bare"
"""The family of App Service's answers without a body."""


class HeaderOrder(Struct, frozen=True):
    """The headers of one family of responses, in order, and the value of `Server`.

    A family with `Transfer-Encoding` sends the body as a chunk. `reasons` are reason phrases that
    differ from HTTP's, by status.
    """

    family: str
    names: tuple[str, ...]
    evidence: Evidence
    server: str = SERVER
    reasons: tuple[tuple[int, str], ...] = _BLANK_REASON


HEADER_ORDERS: dict[str, HeaderOrder] = {
    row.family: row
    for row in (
        HeaderOrder(
            "general",
            (MEDIA, "Server", REQUEST_ID, "Date", LENGTH),
            observed("S29", note="instance, 2026-02-07"),
        ),
        HeaderOrder(
            "identity",
            (MEDIA, "Server", "Date", LENGTH),
            observed("S29", "S76", note="the errors: no x-ms-request-id in 2024"),
        ),
        HeaderOrder(
            "token",
            (MEDIA, "Server", REQUEST_ID, "Date", LENGTH),
            observed("S76", note="200 since 2024-05; the order is that of the instance document"),
        ),
        HeaderOrder(
            FRONT,
            (LENGTH, MEDIA, "Server", "Date"),
            observed("S60", note="the answer to HEAD, 2025-02-04"),
            "Microsoft-IIS/10.0",
            (),
        ),
        HeaderOrder(
            "app_service",
            (MEDIA, "Date", "Server", CODING, CORRELATION_ID),
            observed("S76", note="the headers; their order as in the answer without a body"),
            "Kestrel",
            (),
        ),
        HeaderOrder(
            BARE,
            (LENGTH, "Date", "Server", CORRELATION_ID),
            observed("S80", note="App Service's 403 without a body, Container Apps, 2025-04"),
            "Kestrel",
            (),
        ),
        HeaderOrder(
            INTERPOSED,
            ("Date", "Content-Type", "Content-Length"),
            chosen("of no server of Azure; the other headers of the response follow"),
            "",
            (),
        ),
    )
}
