"""What may be remembered of a request and of its answer."""

import re
from urllib.parse import unquote

from openimds.facts.endpoints import ENDPOINTS
from openimds.protocol.request_log import MOST_BODY_BYTES

MASKED = "***"
LONGEST_VALUE = 256
"""So much of a header's value is kept."""
LONGEST_TARGET = 4096
"""As long as the data plane takes them."""
MOST_HEADERS = 24

_SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "secret", "x-identity-header"}
)
_HEADERS = _SECRET_HEADERS | {
    "accept",
    "content-type",
    "forwarded",
    "host",
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
_PARAMETERS = (
    "access_token|assertion|client_assertion|client_secret|code|password|refresh_token|secret|sig|"
    "token"
)
_SECRET_PARAMETER = re.compile(rf"([?&](?:{_PARAMETERS})=)[^&#]*", re.IGNORECASE)
_USER = re.compile(r"^(\w+://)[^/?#]*@")
_OPEN = frozenset(row.key for row in ENDPOINTS if not row.is_secret) | {
    "http",
    "other",
    "unknown_caller",
}
"""Endpoints whose answers hold no secret; the last three stand for requests to no endpoint."""
_EXPIRES = re.compile(rb'"expires_on":"?([0-9]{1,11})"?[,}]')


def target(raw: bytes) -> str:
    """Return a target without the secrets in it; where there are any, it is written decoded."""
    text = _USER.sub(rf"\1{MASKED}@", raw[:LONGEST_TARGET].decode("latin-1"))
    decoded = unquote(text, "latin-1") if "%" in text else text
    masked = _SECRET_PARAMETER.sub(rf"\1{MASKED}", decoded)
    return text if masked == decoded else masked


def headers(every: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the headers that matter, without the secrets in them; names are in lower case."""
    found = [(name, _value(name, value)) for name, value in every if name in _HEADERS]
    return tuple(found[:MOST_HEADERS])


def _value(name: str, value: str) -> str:
    if name in _SECRET_HEADERS:
        return MASKED
    bounded = value[:LONGEST_VALUE]
    return target(bounded.encode("latin-1")) if name == "referer" else bounded


def body(endpoint: str, whole: bytes, *, is_refusal: bool) -> bytes:
    """Return what may be kept of an answer's body."""
    return whole[:MOST_BODY_BYTES] if is_refusal or endpoint in _OPEN else b""


def sent(endpoint: str, whole: bytes) -> bytes:
    """Return what may be kept of a request's body: the approval of an event."""
    return whole[:MOST_BODY_BYTES] if endpoint == "scheduledevents" else b""


def token_until_s(endpoint: str, whole: bytes) -> float:
    """Return when the token in an answer's body ends, in seconds since 1970; 0: there is none."""
    found = None if endpoint in _OPEN else _EXPIRES.search(whole)
    return float(found[1]) if found else 0.0
