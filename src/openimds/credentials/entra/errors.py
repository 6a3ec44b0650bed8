"""Read Entra's error responses, and translate them into the refusals that IMDS passes on."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec.json
from msgspec import Struct

from openimds.protocol.access_token import unknown_resource
from openimds.protocol.pending import Failed, PendingToken
from openimds.protocol.response import inside_json

TOO_MANY = 429
UNAVAILABLE = 503
MAX_PAUSE_S = 60.0
"""The longest Retry-After that is honoured, in seconds: a mistake must not stop a tenant."""
_MAX_DESCRIPTION = 4000
_CODE = re.compile(r"AADSTS\d+:.*", re.DOTALL)
_NO_RESOURCE = "AADSTS500011:"
_REFUSED = range(400, 500)
_TRY_AGAIN = (408, TOO_MANY)
_TRY_AGAIN_ERROR = "temporarily_unavailable"
_PARTS = {
    "tenant": re.compile(r"in the tenant named (.+?)\. This"),
    "trace": re.compile(r"Trace ID: ([0-9a-fA-F-]+)"),
    "correlation": re.compile(r"Correlation ID: ([0-9a-fA-F-]+)"),
    "at": re.compile(r"Timestamp: ([0-9: TZ-]+Z)"),
}


class EntraError(Struct, frozen=True):
    """The error of an Entra response (RFC 6749, section 5.2)."""

    error: str
    error_description: str = ""


def error_in_body(status: int, body: bytes) -> EntraError | None:
    """Return the refusal in a response; None for a success, a try-again, an unreadable body."""
    if status not in _REFUSED or status in _TRY_AGAIN:
        return None
    try:
        entra_error = msgspec.json.decode(body, type=EntraError)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return None if entra_error.error == _TRY_AGAIN_ERROR else entra_error


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, 10.2.3), at most `MAX_PAUSE_S`.

    A date is compared with the Date of the same response: this machine's clock may be wrong. None
    stands for a header that is absent or unreadable. Names of headers are in lower case.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        seconds = float(text)
    else:
        try:
            seconds = (_date(text) - _date(headers.get("date", ""))).total_seconds()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), MAX_PAUSE_S)


def _date(text: str) -> datetime:
    date = parsedate_to_datetime(text)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def error_in_text(text: str) -> EntraError | None:
    """Return the refusal that az quotes in its message: the description without the error code."""
    match = _CODE.search(text)
    # S6 has this error code for an identity that Entra does not accept.
    return EntraError("unauthorized_client", match[0].strip()) if match else None


def failed_by(refusal: EntraError, pending: PendingToken, now_s: float) -> Failed:
    """Return Entra's refusal as IMDS passes it on."""
    description = refusal.error_description[:_MAX_DESCRIPTION]
    if _NO_RESOURCE in description:
        matches = {name: part.search(description) for name, part in _PARTS.items()}
        quoted = {name: inside_json(match[1]) for name, match in matches.items() if match}
        return Failed("resource_unknown", unknown_resource(pending, now_s) | quoted)
    blanks = {"error": inside_json(refusal.error), "description": inside_json(description)}
    return Failed("entra_refused", blanks)
