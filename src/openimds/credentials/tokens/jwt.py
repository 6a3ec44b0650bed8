"""Sign JSON Web Tokens as Entra does, or forge tokens that a verifier must reject.

A forged token has exactly one fault. Wrong times are wrong by an hour, beyond every leeway:
libraries for Entra's tokens allow 5 minutes.
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
    """Return claims as a signed JWT, in the given order.

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


def _unchanged(claims: Claims, _now_s: int) -> Claims:
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
def _unpublished() -> TokenSigner:
    """Return a key that is published nowhere; all forgeries share it."""
    key = new_key()
    return TokenSigner(kid_of(key.public_key()), key)


def _by_unknown_key(claims: Claims, _signer: TokenSigner) -> str:
    return sign(claims, _unpublished())


def _by_wrong_key(claims: Claims, signer: TokenSigner) -> str:
    return sign(claims, TokenSigner(signer.kid, _unpublished().key))


def _unsigned(claims: Claims, signer: TokenSigner) -> str:
    headers = {"x5t": signer.kid, "kid": signer.kid}
    return jwt.encode(dict(claims), "", algorithm="none", headers=headers, sort_headers=False)


class Forgery(Struct, frozen=True):
    """One kind of invalid token: how its claims change and who signs them."""

    name: str
    about: str
    alter: Callable[[Claims, int], Claims] = _unchanged
    sign: Callable[[Claims, TokenSigner], str] = sign


ROWS: dict[str, Forgery] = {
    row.name: row
    for row in (
        Forgery("expired", "It expired an hour ago.", alter=_expired),
        Forgery("not-yet-valid", "It becomes valid in an hour.", alter=_not_yet_valid),
        Forgery("wrong-audience", "It is for another resource.", alter=_wrong_audience),
        Forgery(
            "wrong-issuer",
            "Another tenant issued it, signed by a published key as all of Entra's tenants do.",
            alter=_wrong_issuer,
        ),
        # Every verifier needs this claim: without it, any token of the tenant opens any service.
        Forgery("missing-claim", "It has no aud.", alter=_missing_claim),
        Forgery("unknown-key", "An unpublished key signed it.", sign=_by_unknown_key),
        Forgery(
            "bad-signature",
            "It names a published key, but another key signed it.",
            sign=_by_wrong_key,
        ),
        Forgery("unsigned", "Its alg is none, and it has no signature.", sign=_unsigned),
    )
}
FORGERIES: tuple[str, ...] = tuple(ROWS)


def forge(name: str, claims: Claims, signer: TokenSigner, now_s: int) -> str:
    """Return claims as a token with the fault of that name.

    The first forgery by an unpublished key generates that key: call it in a thread.

    Raises:
        KeyError: there is no such forgery; `FORGERIES` has their names.
    """
    row = ROWS[name]
    return row.sign(row.alter(claims, now_s), signer)
