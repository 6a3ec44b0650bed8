"""The refusal rows of all categories, and their look-up."""

from functools import cache

from openimds.facts.evidence import chosen, client, documented, observed
from openimds.facts.headers import FRONT, TEXT_MEDIA, XML_MEDIA
from openimds.facts.refusal import RefusalRow, find_row
from openimds.facts.refusals_elsewhere import (
    APP_SERVICE,
    APP_SERVICE_WINDOWS,
    ARC,
    CLOUD_SHELL,
    HTTP,
    IDENTITY,
    LOAD_BALANCER,
)

_NEWEST = (
    '{"error":"Bad request. api-version is invalid or was not specified in the request. For more '
    'information refer to aka.ms/azureimds","newest-versions":{newest}}'
)
_BAD_REQUEST = observed(
    "S5",
    "S65",
    note="of a leaf without format=text: 2021-10-08 at 2018-10-01, 26 bytes; that a malformed "
    "approval of events has the same text is inferred",
)


def _front(code: str, message: str, details: str = "") -> str:
    """Return a body of the front, to the byte as its other clients log it."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<Error xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema">\n'
        f"    <Code>{code}</Code>\n"
        f"    <Message>{message}</Message>\n"
        f"    <Details>{details}</Details>\n"
        "</Error>"
    )


GENERAL: tuple[RefusalRow, ...] = (
    RefusalRow(
        "head",
        "",
        400,
        _front(
            "BadRequest",
            "The request contents are invalid or incomplete. Please refresh your resource cache "
            "and retry.",
        ),
        observed(
            "S60",
            "S71",
            note="the head, 323 bytes long; the body is inferred from that length, and the same "
            "answer to a HEAD with the Metadata header is assumed",
        ),
        media=XML_MEDIA,
        family=FRONT,
    ),
    RefusalRow(
        "not_found",
        "",
        404,
        '{ "error": "Not found" }',
        observed("S22", note="recorded in 2017; the inner spaces of today are assumed"),
    ),
    RefusalRow(
        "empty_name",
        "",
        404,
        _front(
            "ResourceNotFound",
            "The specified resource does not exist.",
            "'' isn't a valid resource name.",
        ),
        observed("S94", note="//metadata/identity/oauth2/token; the front's head is inferred"),
        media=XML_MEDIA,
        family=FRONT,
    ),
    RefusalRow(
        "unknown_caller",
        "",
        404,
        '{"error":"Not found"}',
        chosen("Azure has no unknown callers; the text is that of an unknown element"),
    ),
    RefusalRow(
        "header_missing",
        "",
        400,
        '{ "error": "Bad request: . Required metadata header not specified" }',
        observed("S30", note="2022-04-16, with this punctuation and these inner spaces"),
    ),
    RefusalRow(
        "forwarded",
        "",
        400,
        _front(
            "InvalidHeaderValue",
            "The value provided for one of the HTTP headers was not in the correct format.",
            "Header contains 'X-Forwarded-For' are not supported.",
        ),
        observed("S93", note="for a token, 367 bytes; its head and the other paths are inferred"),
        media=XML_MEDIA,
        family=FRONT,
    ),
    RefusalRow(
        "rebound",
        "",
        403,
        '{"error":"Forbidden. Callers on this machine or behind a published port need an address, '
        "localhost, host.docker.internal or a name of the setting listen_hosts in Host, and no "
        'Origin"}',
        chosen(
            "Azure checks neither Host nor Origin; on this machine and behind a published port, "
            "web pages that rebind their name (DNS rebinding) could read tokens"
        ),
    ),
    RefusalRow(
        "duplicate_parameter",
        "",
        400,
        '{ "error": "Bad request. Duplicate query parameters are not allowed" }',
        chosen("the rejection is documented (S1, S2), its body is not"),
    ),
    RefusalRow("version_missing", "", 400, _NEWEST, observed("S2", "S30")),
    RefusalRow("version_unknown", "", 400, _NEWEST, observed("S2", "S30")),
    RefusalRow(
        "leaf_needs_text",
        "",
        400,
        '{ "error": "Bad request" }',
        _BAD_REQUEST,
    ),
    RefusalRow(
        "format_unknown",
        "",
        400,
        '{ "error": "Bad request. The format must be json or text" }',
        chosen("no recording has an unknown format"),
    ),
    RefusalRow(
        "verb_not_allowed",
        "",
        405,
        '{"error":"Not allowed"}',
        chosen("the status is documented (S2), the text is from a swagger sample (S4)"),
        headers=("Allow",),
    ),
    RefusalRow(
        "throttled",
        "",
        429,
        '{ "error": "Too many requests" }',
        documented("S4", note="the text is from a swagger sample; no recording has Retry-After"),
    ),
    RefusalRow(
        "throttled_text",
        "",
        429,
        "Too many requests",
        client("S18", note="a client compares the body of a format=text request with this text"),
        media=TEXT_MEDIA,
    ),
    RefusalRow(
        "updating",
        "",
        410,
        _front(
            "ResourceNotAvailable",
            "The resource requested is no longer available. Please refresh your cache.",
        ),
        observed("S75", "S77", note="the body; that its head is the front's is inferred"),
        media=XML_MEDIA,
        family=FRONT,
    ),
    RefusalRow("server_error", "", 500, '{ "error": "Server error" }', documented("S4")),
    RefusalRow(
        "restarting",
        "",
        500,
        "Internal Server Error",
        documented(
            "S10", note="from the front, before IMDS (a fault on request); the text is assumed"
        ),
        media=TEXT_MEDIA,
        family=FRONT,
    ),
    RefusalRow("unavailable", "", 503, '{ "error": "Service unavailable" }', documented("S4")),
    RefusalRow("forbidden", "", 403, '{ "error": "Forbidden" }', documented("S4")),
    RefusalRow(
        "nonce_unfit",
        "",
        400,
        '{ "error": "Bad request. The nonce must be up to 32 letters, digits, - or _" }',
        chosen("the bound is documented (S4), the refusal is not recorded"),
    ),
    RefusalRow(
        "collateral_unfit",
        "",
        400,
        '{ "error": "Bad request. Invalid tcbVersion, platformId or productName" }',
        chosen("a tcbVersion has 16, a platformId 128 hexadecimal digits; no refusal is recorded"),
    ),
    RefusalRow(
        "report_unfit",
        "",
        400,
        '{ "error": "Bad request. Invalid TD report" }',
        chosen("a TD report has 1024 octets; no refusal is recorded"),
    ),
    RefusalRow(
        "malformed_events",
        "",
        400,
        '{ "error": "Bad request" }',
        _BAD_REQUEST,
    ),
)

REFUSALS: tuple[RefusalRow, ...] = (
    *GENERAL,
    *IDENTITY,
    *LOAD_BALANCER,
    *APP_SERVICE,
    *APP_SERVICE_WINDOWS,
    *ARC,
    *CLOUD_SHELL,
    *HTTP,
)


@cache
def refusal_row(key: str, category: str) -> RefusalRow:
    """Return the row of a refusal in a category.

    Raises:
        KeyError: no row has the key.
    """
    return find_row(REFUSALS, key, category)
