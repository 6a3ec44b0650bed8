"""Named pages: responses of other servers that clients met at IMDS's address.

The texts are our own; a report shows the status and the kind of the body, and seldom all of it.
"""

from msgspec import Struct

from openimds.facts.evidence import Evidence, client, observed
from openimds.facts.headers import HTML_MEDIA


class NamedPage(Struct, frozen=True):
    """One response of a server between the client and IMDS, with its public report.

    An empty `media` is a response without Content-Type, an empty `reason` the words of HTTP. A page
    that `closes` ends the connection.
    """

    key: str
    about: str
    evidence: Evidence
    status: int
    body: str
    media: str = HTML_MEDIA
    headers: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    closes: bool = False


def _html(title: str, *paragraphs: str) -> str:
    """Return a plain page of HTML."""
    text = "".join(f"<p>{paragraph}</p>\n" for paragraph in paragraphs)
    return (
        f"<!DOCTYPE html>\n<html>\n<head><title>{title}</title></head>\n"
        f"<body>\n<h1>{title}</h1>\n{text}</body>\n</html>\n"
    )


UNREACHABLE = (
    "connecting to 169.254.169.254:80: dial tcp 169.254.169.254:80: connectex: "
    "A socket operation was attempted to an unreachable network."
)
"""The system's words that SDKs compare with the 403 of a container's proxy."""


def _agent(status: int, about: str) -> NamedPage:
    """Return an answer of the guest proxy agent, which has no body."""
    note = "Connection: close and no body; the other headers are assumed"
    evidence = observed("S71", note=f"the source of the agent: {note}")
    return NamedPage(f"agent-{status}", about, evidence, status, "", media="", closes=True)


_ROWS = (
    NamedPage(
        "proxy-502",
        "502 in HTML of an HTTP proxy that cannot reach the address.",
        client("S90", note="18362: a 502 ended a chain of credentials; the page is not shown"),
        502,
        _html("Bad gateway", "This proxy could not connect to the requested server."),
        headers=(("Server", "proxy"), ("Via", "1.1 proxy")),
    ),
    NamedPage(
        "proxy-504",
        "504 in HTML of an HTTP proxy whose connection times out.",
        observed("S91", note="insights-core 3565, of a cloud proxy; the words are our own"),
        504,
        _html("Gateway time-out", "The requested server did not answer this proxy in time."),
        headers=(("Server", "proxy"), ("Via", "1.1 proxy")),
    ),
    NamedPage(
        "iis-404",
        "404 in HTML of a web server that has the address and knows no metadata.",
        client("S90", note="28218: a 404 without JSON ended a chain; that it is IIS is assumed"),
        404,
        _html("404 - Not found", "The requested file or folder does not exist on this server."),
        headers=(("Server", "Microsoft-IIS/10.0"), ("X-Powered-By", "ASP.NET")),
    ),
    NamedPage(
        "container-403",
        "403 of the proxy of a container engine on a desktop, with the system's error.",
        observed(
            "S90",
            note="26898, 42134: these words, Connection: close, no Content-Type; SDKs look for the "
            "words; that the body has them once is assumed",
        ),
        403,
        UNREACHABLE,
        media="",
        reason=f"connecting to 169.254.169.254:80: {UNREACHABLE}",
        closes=True,
    ),
    NamedPage(
        "portal-200",
        "200 in HTML of a captive portal, or of another router that answers for every address.",
        observed("S90", "S91", note="netdata 14775; 20554 and 35938 met HTML as a token"),
        200,
        _html("Please sign in", "Sign in to this network to continue."),
        headers=(("Cache-Control", "no-store"),),
    ),
    NamedPage(
        "empty-200",
        "200 without a body.",
        client(
            "S91", note="monkey 902: no JSON at its first character; that it is empty is likely"
        ),
        200,
        "",
        media="",
    ),
    _agent(403, "403 of the guest proxy agent for a process that its rules refuse."),
    _agent(421, "421 of the guest proxy agent."),
    _agent(500, "500 of the guest proxy agent."),
    _agent(502, "502 of the guest proxy agent."),
    NamedPage(
        "agent-405",
        "405 of the guest proxy agent for CONNECT, TRACE and unknown verbs.",
        observed("S71", note="the source of the agent; the missing Content-Type is assumed"),
        405,
        "Method Not Allowed",
        media="",
        headers=(("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"),),
    ),
)
PAGES: dict[str, NamedPage] = {row.key: row for row in _ROWS}
"""Every named page by its key."""
