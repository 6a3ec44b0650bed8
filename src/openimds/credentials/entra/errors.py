"""What Entra says when it says no, and the refusal of IMDS that hands it on."""

import re

import msgspec.json
from msgspec import Struct

from openimds.protocol.access_token import unknown_resource
from openimds.protocol.pending import Failed, PendingToken
from openimds.protocol.response import inside_json

_LONGEST = 4000
_CODE = re.compile(r"AADSTS\d+:.*", re.DOTALL)
_NO_RESOURCE = "AADSTS500011:"
_REFUSED = range(400, 500)
_TRY_AGAIN = (408, 429)
_TRY_AGAIN_ERROR = "temporarily_unavailable"
_PARTS = {
    "tenant": re.compile(r"in the tenant named (.+?)\. This"),
    "trace": re.compile(r"Trace ID: ([0-9a-fA-F-]+)"),
    "correlation": re.compile(r"Correlation ID: ([0-9a-fA-F-]+)"),
    "at": re.compile(r"Timestamp: ([0-9: TZ-]+Z)"),
}


class EntraError(Struct, frozen=True):
    """The error of an answer of Entra (RFC 6749, section 5.2)."""

    error: str
    error_description: str = ""


def error_in_body(status: int, body: bytes) -> EntraError | None:
    """Return the refusal in an answer, unless it is a success or means: try again."""
    if status not in _REFUSED or status in _TRY_AGAIN:
        return None
    try:
        found = msgspec.json.decode(body, type=EntraError)
    except ValueError:
        return None
    return None if found.error == _TRY_AGAIN_ERROR else found


def error_in_text(text: str) -> EntraError | None:
    """Return the refusal that a command quotes; az does not say the error, only its words."""
    found = _CODE.search(text)
    # S6 has this one for an identity that Entra does not take.
    return EntraError("unauthorized_client", found[0].strip()) if found else None


def failed_by(refusal: EntraError, need: PendingToken, now_s: float) -> Failed:
    """Return the refusal as IMDS hands it on."""
    said = refusal.error_description[:_LONGEST]
    if _NO_RESOURCE in said:
        found = {name: part.search(said) for name, part in _PARTS.items()}
        own = {name: inside_json(match[1]) for name, match in found.items() if match}
        return Failed("resource_unknown", unknown_resource(need, now_s) | own)
    words = {"error": inside_json(refusal.error), "description": inside_json(said)}
    return Failed("entra_refused", words)
