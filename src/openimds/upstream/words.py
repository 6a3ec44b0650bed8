"""Reading a token of somebody else's, and telling of failures without telling secrets."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Iterable

import msgspec.json
from msgspec import Struct

from openimds.spec.tokens import SKEW_S

_LONGEST = 500
_JWT = re.compile(r"eyJ[\w-]+(\.[\w-]*)*")
_HIDDEN = "***"


class _Claims(Struct):
    nbf: int


def not_before_s(token: str, now_s: float) -> int:
    """Return from when on a token holds; of one that cannot be read, what Azure would say."""
    try:
        body = token.split(".")[1]
        text = urlsafe_b64decode(body + "=" * (-len(body) % 4))
        return msgspec.json.decode(text, type=_Claims).nbf
    except (IndexError, ValueError):
        return int(now_s) - SKEW_S


def speakable(text: str, secrets: Iterable[str] = ()) -> str:
    """Return text as one line that may be shown: no token, no secret, nothing unprintable."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN) if secret else text
    shown = "".join(sign if sign.isprintable() else " " for sign in _JWT.sub(_HIDDEN, text))
    line = " ".join(shown.split()).rstrip(".")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
