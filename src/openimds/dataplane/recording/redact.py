"""Reduce a request and its response to the parts that may be recorded."""

import re
from urllib.parse import unquote

from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.redaction import MASKED, SECRET_HEADERS, SECRET_PARAMETERS
from openimds.protocol.request_log import MOST_BODY_BYTES

MAX_VALUE_CHARACTERS = 256
"""Longer values of headers are cut."""
MAX_TARGET_BYTES = 4096
"""As many as the data plane accepts."""
MAX_HEADERS = 24

_HEADERS = SECRET_HEADERS | {
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "metadata",
    "origin",
    "proxy-connection",
    "referer",
    "sec-fetch-mode",
    "sec-fetch-site",
    "user-agent",
    "via",
    "x-client-sku",
    "x-forwarded-for",
    "x-ms-client-request-id",
    "x-ms-correlation-id",
}
_PARAMETERS = "|".join(SECRET_PARAMETERS)
_SECRET_PARAMETER = re.compile(rf"([?&](?:{_PARAMETERS})=)[^&#]*", re.IGNORECASE)
_USER = re.compile(r"^(\w+://)[^/?#]*@")
_OPEN = frozenset(row.key for row in ENDPOINTS if not row.is_secret) | {
    "http",
    "other",
    "unknown_caller",
}
"""Counters of responses without secrets; the last three are not of an endpoint."""
_EXPIRES = re.compile(rb'"expires_on":"?([0-9]{1,11})"?[,}]')


def target(raw: bytes) -> str:
    """Return a target with its secrets masked; a masked target is written decoded."""
    text = _USER.sub(rf"\1{MASKED}@", raw[:MAX_TARGET_BYTES].decode("latin-1"))
    decoded = unquote(text, "latin-1") if "%" in text else text
    masked = _SECRET_PARAMETER.sub(rf"\1{MASKED}", decoded)
    return text if masked == decoded else masked


def headers(every: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the known headers with their secrets masked; names are in lower case."""
    masked = [(name, _value(name, value)) for name, value in every if name in _HEADERS]
    return tuple(masked[:MAX_HEADERS])


def _value(name: str, value: str) -> str:
    if name in SECRET_HEADERS:
        return MASKED
    bounded = value[:MAX_VALUE_CHARACTERS]
    return target(bounded.encode("latin-1")) if name == "referer" else bounded


def body(endpoint: str, whole: bytes, *, is_refusal: bool) -> bytes:
    """Return the body of a response if it holds no secret, cut to its bound."""
    return whole[:MOST_BODY_BYTES] if is_refusal or endpoint in _OPEN else b""


def sent(endpoint: str, whole: bytes) -> bytes:
    """Return the body of a request if it approves an event, cut to its bound."""
    return whole[:MOST_BODY_BYTES] if endpoint == "scheduledevents" else b""


def token_until_s(endpoint: str, whole: bytes) -> float:
    """Return the expiry of a body's token, in seconds since 1970; 0: no token."""
    match = None if endpoint in _OPEN else _EXPIRES.search(whole)
    return float(match[1]) if match else 0.0
