import json
from base64 import urlsafe_b64decode
from datetime import datetime, tzinfo
from typing import Any

import jwt
import pytest

from openimds.credentials.keys.keyring import Keyring, TokenSigner
from openimds.credentials.tokens import oidc
from openimds.credentials.tokens.jwt import FORGERIES, OTHER_TENANT, ROWS, forge, sign
from openimds.facts.clouds import PUBLIC
from openimds.protocol.access_token import issuers

NOW_S = 1_709_809_297
TENANT = "11111111-2222-3333-4444-555555555555"
ISSUER, ISSUER_2 = issuers(TENANT, PUBLIC)
AUDIENCE = "https://vault.azure.net"
CLAIMS: dict[str, object] = {
    "aud": AUDIENCE,
    "iss": ISSUER,
    "iat": NOW_S - 60,
    "nbf": NOW_S - 60,
    "exp": NOW_S - 60 + 86_700,
    "idp": ISSUER,
    "oid": "an-object",
    "sub": "an-object",
    "tid": TENANT,
}
LEEWAY_S = 300
RING = Keyring.open(None)


@pytest.fixture(scope="module")
def signer() -> TokenSigner:
    return RING.signer(NOW_S)


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, which PyJWT reads by itself."""

    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Still":
            return cls.fromtimestamp(NOW_S, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Still)


class Keys(jwt.PyJWKClient):
    """PyJWT's own way from a JWKS address to a key, without the way."""

    def fetch_data(self) -> Any:
        return oidc.jwks(RING.public(NOW_S))


def verify(token: str, issuer: str = ISSUER, leeway_s: int = LEEWAY_S) -> dict[str, Any]:
    """Verify as a careful resource server does."""
    key = Keys("https://localhost/keys").get_signing_key_from_jwt(token)
    return jwt.decode(
        token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=issuer, leeway=leeway_s
    )


def header(token: str) -> dict[str, str]:
    return jwt.get_unverified_header(token)


def claims(token: str) -> dict[str, object]:
    text = token.split(".")[1]
    said: dict[str, object] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return said


EXPECTED = {
    "expired": jwt.ExpiredSignatureError,
    "not-yet-valid": jwt.ImmatureSignatureError,
    "wrong-audience": jwt.InvalidAudienceError,
    "wrong-issuer": jwt.InvalidIssuerError,
    "missing-claim": jwt.MissingRequiredClaimError,
    "unknown-key": jwt.PyJWKClientError,
    "bad-signature": jwt.InvalidSignatureError,
    "unsigned": jwt.InvalidAlgorithmError,
}


def test_without_forging_it_verifies(signer: TokenSigner) -> None:
    assert verify(sign(CLAIMS, signer), leeway_s=0) == CLAIMS


def test_every_forgery_has_its_expectation_here_and_says_what_it_is() -> None:
    assert set(FORGERIES) == set(EXPECTED)
    assert all(name == row.name and row.about for name, row in ROWS.items())


@pytest.mark.parametrize("name", FORGERIES)
def test_a_careful_verifier_finds_what_is_wrong(name: str, signer: TokenSigner) -> None:
    with pytest.raises(jwt.PyJWTError) as caught:
        verify(forge(name, CLAIMS, signer, NOW_S))
    assert type(caught.value) is EXPECTED[name]


CHANGED = {
    "expired": {"iat", "nbf", "exp"},
    "not-yet-valid": {"nbf"},
    "wrong-audience": {"aud"},
    "wrong-issuer": {"iss", "idp", "tid"},
    "missing-claim": {"aud"},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_nothing_else_is_wrong_with_it(name: str, signer: TokenSigner) -> None:
    before = dict(CLAIMS)
    said = claims(forge(name, CLAIMS, signer, NOW_S))
    assert before == CLAIMS
    changed = {claim for claim in CLAIMS if said.get(claim) != CLAIMS[claim]}
    assert changed == CHANGED.get(name, set())
    assert not said.keys() - CLAIMS.keys()


def test_an_expired_token_was_a_whole_one(signer: TokenSigner) -> None:
    said = claims(forge("expired", CLAIMS, signer, NOW_S))
    ended_s = NOW_S - 3600
    assert (said["iat"], said["nbf"], said["exp"]) == (ended_s - 86_700, ended_s - 86_700, ended_s)


def test_only_the_forgery_about_the_key_names_another_one(signer: TokenSigner) -> None:
    named = {name: header(forge(name, CLAIMS, signer, NOW_S)) for name in FORGERIES}
    stray = named.pop("unknown-key")
    assert stray["kid"] == stray["x5t"] != signer.kid
    assert {row["kid"] for row in named.values()} == {signer.kid}
    assert {row["x5t"] for row in named.values()} == {signer.kid}


def test_an_unsigned_token_says_so_and_ends_in_nothing(signer: TokenSigner) -> None:
    token = forge("unsigned", CLAIMS, signer, NOW_S)
    assert token.endswith(".")
    assert list(header(token).items()) == [
        ("typ", "JWT"),
        ("alg", "none"),
        ("x5t", signer.kid),
        ("kid", signer.kid),
    ]


def test_a_bad_signature_looks_like_a_good_one(signer: TokenSigner) -> None:
    bad, good = forge("bad-signature", CLAIMS, signer, NOW_S), sign(CLAIMS, signer)
    assert len(bad) == len(good)
    assert bad.rpartition(".")[0] == good.rpartition(".")[0]
    assert bad != good


@pytest.mark.parametrize(
    "claims_given, issuer",
    [
        ({**CLAIMS, "iss": ISSUER_2}, f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
        ({"iss": "http://h/me/", "tid": "me"}, f"http://h/{OTHER_TENANT}/"),
        ({"iss": "http://h/me/", "tid": "you"}, f"https://sts.windows.net/{OTHER_TENANT}/"),
        ({"iss": "http://h/me/"}, f"https://sts.windows.net/{OTHER_TENANT}/"),
    ],
)
def test_the_wrong_issuer_is_another_tenant_of_the_same_kind(
    claims_given: dict[str, object], issuer: str, signer: TokenSigner
) -> None:
    said = claims(forge("wrong-issuer", claims_given, signer, NOW_S))
    assert said["iss"] == issuer
    assert said.keys() == claims_given.keys()


def test_a_token_of_another_tenant_is_signed_by_a_published_key(signer: TokenSigner) -> None:
    # As with Entra, whose tenants share its keys: a verifier that asks no more would let it in.
    token = forge("wrong-issuer", CLAIMS, signer, NOW_S)
    other = f"https://sts.windows.net/{OTHER_TENANT}/"
    assert verify(token, issuer=other)["tid"] == OTHER_TENANT


def test_there_is_no_forgery_of_another_name(signer: TokenSigner) -> None:
    with pytest.raises(KeyError):
        forge("perfect", CLAIMS, signer, NOW_S)
