"""Tokens to and from Entra as texts: the assertion, a token's nbf, lines without them."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable

import msgspec.json
from msgspec import Struct

from openimds.facts.tokens import SKEW_S
from openimds.protocol.access_token import issuers
from openimds.protocol.pending import PendingToken

AUDIENCE = "api://AzureADTokenExchange"
"""The audience of a client assertion, the token by which an identity authenticates to Entra."""
ASSERTION_S = 600
_MAX_LINE = 500
_JWT = re.compile(r"eyJ[\w-]+(\.[\w-]*)*")
_HIDDEN = "***"


def assertion(pending: PendingToken, issuer: str, now_s: float) -> dict[str, object]:
    """Return the claims of the client assertion by which an identity authenticates to Entra.

    Entra compares iss, sub and aud with the federated credential of the application or identity.
    """
    identity, issued_s = pending.identity, int(now_s)
    return {
        "aud": AUDIENCE,
        "iss": issuers(identity.tenant_id, pending.cloud, issuer)[1],
        "iat": issued_s,
        "nbf": issued_s - SKEW_S,
        "exp": issued_s + ASSERTION_S,
        "sub": identity.object_id,
        "tid": identity.tenant_id,
    }


class _Claims(Struct):
    nbf: int


def not_before_s(token: str, now_s: float) -> int:
    """Return a token's nbf; for an unreadable token, the nbf that Azure would choose now."""
    try:
        body = token.split(".")[1]
        text = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return msgspec.json.decode(text, type=_Claims).nbf
    except (IndexError, ValueError, msgspec.DecodeError):
        return int(now_s) - SKEW_S


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text as one printable line without tokens and secrets, at most 500 characters."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN) if secret else text
    printable = "".join(char if char.isprintable() else " " for char in _JWT.sub(_HIDDEN, text))
    line = " ".join(printable.split()).rstrip(".")
    return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…"
