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
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock that PyJWT reads."""

    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "StoppedClock":
            return cls.fromtimestamp(NOW_S, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", StoppedClock)


class Keys(jwt.PyJWKClient):
    """PyJWT's JWKS client with the keys of the ring instead of a fetch."""

    def fetch_data(self) -> Any:
        return oidc.jwks(RING.public(NOW_S))


def verify(token: str, issuer: str = ISSUER, leeway_s: int = LEEWAY_S) -> dict[str, Any]:
    """Verify as a careful resource server does."""
    key = Keys("https://localhost/keys").get_signing_key_from_jwt(token)
    return jwt.decode(
        token, key.key, algorithms=["RS256"], audience=AUDIENCE, issuer=issuer, leeway=leeway_s
    )


def header(token: str) -> dict[str, str]:
    return jwt.get_unverified_header(token)


def claims(token: str) -> dict[str, object]:
    text = token.split(".")[1]
    decoded: dict[str, object] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return decoded


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


def test_signed_token_verifies(signer: TokenSigner) -> None:
    assert verify(sign(CLAIMS, signer), leeway_s=0) == CLAIMS


def test_every_forgery_has_a_description_and_an_expectation() -> None:
    assert set(FORGERIES) == set(EXPECTED)
    assert all(name == row.name and row.about for name, row in ROWS.items())


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery_fails_the_expected_check(name: str, signer: TokenSigner) -> None:
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
def test_forgery_changes_only_its_claims(name: str, signer: TokenSigner) -> None:
    before = dict(CLAIMS)
    forged = claims(forge(name, CLAIMS, signer, NOW_S))
    assert before == CLAIMS
    changed = {claim for claim in CLAIMS if forged.get(claim) != CLAIMS[claim]}
    assert changed == CHANGED.get(name, set())
    assert not forged.keys() - CLAIMS.keys()


def test_expired_token_had_a_full_lifetime(signer: TokenSigner) -> None:
    forged = claims(forge("expired", CLAIMS, signer, NOW_S))
    ended_s = NOW_S - 3600
    assert (forged["iat"], forged["nbf"], forged["exp"]) == (
        ended_s - 86_700,
        ended_s - 86_700,
        ended_s,
    )


def test_only_unknown_key_forgery_names_another_key(signer: TokenSigner) -> None:
    headers = {name: header(forge(name, CLAIMS, signer, NOW_S)) for name in FORGERIES}
    unknown = headers.pop("unknown-key")
    assert unknown["kid"] == unknown["x5t"] != signer.kid
    assert {row["kid"] for row in headers.values()} == {signer.kid}
    assert {row["x5t"] for row in headers.values()} == {signer.kid}


def test_unsigned_token_has_alg_none_and_no_signature(signer: TokenSigner) -> None:
    token = forge("unsigned", CLAIMS, signer, NOW_S)
    assert token.endswith(".")
    assert list(header(token).items()) == [
        ("typ", "JWT"),
        ("alg", "none"),
        ("x5t", signer.kid),
        ("kid", signer.kid),
    ]


def test_bad_signature_differs_only_in_the_signature(signer: TokenSigner) -> None:
    bad, good = forge("bad-signature", CLAIMS, signer, NOW_S), sign(CLAIMS, signer)
    assert len(bad) == len(good)
    assert bad.rpartition(".")[0] == good.rpartition(".")[0]
    assert bad != good


@pytest.mark.parametrize(
    "given, issuer",
    [
        ({**CLAIMS, "iss": ISSUER_2}, f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"),
        ({"iss": "http://h/me/", "tid": "me"}, f"http://h/{OTHER_TENANT}/"),
        ({"iss": "http://h/me/", "tid": "you"}, f"https://sts.windows.net/{OTHER_TENANT}/"),
        ({"iss": "http://h/me/"}, f"https://sts.windows.net/{OTHER_TENANT}/"),
    ],
)
def test_wrong_issuer_is_another_tenant_of_the_same_form(
    given: dict[str, object], issuer: str, signer: TokenSigner
) -> None:
    forged = claims(forge("wrong-issuer", given, signer, NOW_S))
    assert forged["iss"] == issuer
    assert forged.keys() == given.keys()


def test_wrong_issuer_token_is_signed_by_a_published_key(signer: TokenSigner) -> None:
    # As with Entra, whose tenants share keys: a verifier that checks only the key would accept it.
    token = forge("wrong-issuer", CLAIMS, signer, NOW_S)
    other = f"https://sts.windows.net/{OTHER_TENANT}/"
    assert verify(token, issuer=other)["tid"] == OTHER_TENANT


def test_unknown_forgery_raises_key_error(signer: TokenSigner) -> None:
    with pytest.raises(KeyError):
        forge("perfect", CLAIMS, signer, NOW_S)
