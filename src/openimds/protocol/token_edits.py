"""Edits of the answer with a token: fields that are missing, changed or expired."""

import msgspec.json
from msgspec import structs

from openimds.protocol.pending import AccessToken, TokenEdits


def expiring(token: AccessToken, edits: TokenEdits, now_s: float) -> AccessToken:
    """Return a token whose answer at `now_s` has the edited expiry, if there is one."""
    if edits.expires_s is None:
        return token
    life_s = int(edits.expires_s)
    return structs.replace(token, expires_s=int(now_s) + life_s, life_s=max(0, life_s))


def edited(body: bytes, edits: TokenEdits) -> bytes:
    """Return the body of a response with edited fields; new ones follow the others."""
    fields: dict[str, object] = msgspec.json.decode(body)
    for name in edits.drop:
        fields.pop(name, None)
    fields |= {name: _value(text) for name, text in edits.members}
    return msgspec.json.encode(fields)


def _value(text: str) -> object:
    """Return the value of JSON text, or the text itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
