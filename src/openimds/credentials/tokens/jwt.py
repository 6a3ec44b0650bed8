"""JSON Web Tokens: sign claims as Entra does, or forge a token that a verifier must refuse.

A forged token has exactly one fault.

Times are wrong by an hour, which no leeway forgives: libraries for Entra's tokens allow 5 minutes.
"""

from collections.abc import Callable, Mapping
from functools import cache

import jwt
from msgspec import Struct

from openimds.credentials.keys.files import new_key
from openimds.credentials.keys.keyring import TokenSigner, kid_of
from openimds.facts.tokens import LIFE_S, SKEW_S

Claims = Mapping[str, object]

ALGORITHM = "RS256"

OTHER_AUDIENCE = "https://wrong-audience.invalid"
OTHER_TENANT = "00000000-0000-0000-0000-000000000000"
WRONG_BY_S = 3600


def sign(claims: Mapping[str, object], signer: TokenSigner) -> str:
    """Return the claims as Entra signs them, in the order in which they are given.

    The header is Entra's to the byte: typ, alg, x5t, kid (F.5 of the wire specification, S33).
    PyJWT would sort it.
    """
    return jwt.encode(
        dict(claims),
        signer.key,
        algorithm=ALGORITHM,
        headers={"x5t": signer.kid, "kid": signer.kid},
        sort_headers=False,
    )


def _same(claims: Claims, _now_s: int) -> Claims:
    return claims


def _expired(claims: Claims, now_s: int) -> Claims:
    ended_s = now_s - WRONG_BY_S
    began_s = ended_s - LIFE_S - SKEW_S
    return {**claims, "iat": began_s, "nbf": began_s, "exp": ended_s}


def _not_yet_valid(claims: Claims, now_s: int) -> Claims:
    return {**claims, "nbf": now_s + WRONG_BY_S}


def _wrong_audience(claims: Claims, _now_s: int) -> Claims:
    return {**claims, "aud": OTHER_AUDIENCE}


def _wrong_issuer(claims: Claims, _now_s: int) -> Claims:
    tenant, issuer = str(claims.get("tid", "")), str(claims.get("iss", ""))
    if tenant and tenant in issuer:
        issuer = issuer.replace(tenant, OTHER_TENANT)
    else:
        issuer = f"https://sts.windows.net/{OTHER_TENANT}/"
    changed = {"iss": issuer, "idp": issuer, "tid": OTHER_TENANT}
    return {**claims, **{name: new for name, new in changed.items() if name in claims}}


def _missing_claim(claims: Claims, _now_s: int) -> Claims:
    return {name: value for name, value in claims.items() if name != "aud"}


@cache
def _stray() -> TokenSigner:
    """Return a key that is published nowhere; one is enough."""
    key = new_key()
    return TokenSigner(kid_of(key.public_key()), key)


def _by_unknown_key(claims: Claims, _signer: TokenSigner) -> str:
    return sign(claims, _stray())


def _by_wrong_key(claims: Claims, signer: TokenSigner) -> str:
    return sign(claims, TokenSigner(signer.kid, _stray().key))


def _unsigned(claims: Claims, signer: TokenSigner) -> str:
    named = {"x5t": signer.kid, "kid": signer.kid}
    return jwt.encode(dict(claims), "", algorithm="none", headers=named, sort_headers=False)


class Forgery(Struct, frozen=True):
    """One kind of bad token: what is done to its claims, and how it is sealed."""

    name: str
    about: str
    bend: Callable[[Claims, int], Claims] = _same
    seal: Callable[[Claims, TokenSigner], str] = sign


ROWS: dict[str, Forgery] = {
    row.name: row
    for row in (
        Forgery("expired", "It ended an hour ago.", bend=_expired),
        Forgery("not-yet-valid", "It begins in an hour.", bend=_not_yet_valid),
        Forgery("wrong-audience", "It is for another resource.", bend=_wrong_audience),
        Forgery(
            "wrong-issuer",
            "Another tenant issued it, signed by a published key as all of Entra's tenants do.",
            bend=_wrong_issuer,
        ),
        # The one claim that every verifier needs: without a check of it, any token of the tenant
        # opens any door.
        Forgery("missing-claim", "It has no aud.", bend=_missing_claim),
        Forgery("unknown-key", "A key that nobody publishes signed it.", seal=_by_unknown_key),
        Forgery(
            "bad-signature",
            "It names a published key, but another one signed it.",
            seal=_by_wrong_key,
        ),
        Forgery("unsigned", "It says alg none and has no signature.", seal=_unsigned),
    )
}
FORGERIES: tuple[str, ...] = tuple(ROWS)


def forge(name: str, claims: Claims, signer: TokenSigner, now_s: int) -> str:
    """Return the bad token of that name in place of the good one.

    The first one that takes a stray key makes it, and so belongs into a thread as `sign` does.

    Raises:
        KeyError: there is no such forgery; `FORGERIES` has their names.
    """
    row = ROWS[name]
    return row.seal(row.bend(claims, now_s), signer)
