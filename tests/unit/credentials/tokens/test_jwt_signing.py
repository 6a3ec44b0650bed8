import json
from base64 import urlsafe_b64decode

import jwt
import pytest

from openimds.credentials.keys.files import new_key
from openimds.credentials.keys.keyring import Keyring, TokenSigner
from openimds.credentials.tokens.jwt import sign

NOW_S = 1_709_809_297
CLAIMS = {
    "aud": "https://vault.azure.net",
    "iss": "https://sts.windows.net/11111111-1111-1111-1111-111111111111/",
    "iat": NOW_S,
    "nbf": NOW_S,
    "exp": NOW_S + 86_700,
    "appidacr": "2",
    "oid": "0b4a5c1e",
    "sub": "0b4a5c1e",
    "ver": "1.0",
    "xms_rd": "0.42",
}


@pytest.fixture(scope="module")
def signer() -> TokenSigner:
    return Keyring.open(None).signer(NOW_S)


def part(token: str, number: int) -> bytes:
    text = token.split(".")[number]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_header_equals_entras_to_the_byte(signer: TokenSigner) -> None:
    # F.5 of the wire specification, S33.
    expected = f'{{"typ":"JWT","alg":"RS256","x5t":"{signer.kid}","kid":"{signer.kid}"}}'
    assert part(sign(CLAIMS, signer), 0).decode() == expected


def test_claims_are_compact_and_in_the_given_order(signer: TokenSigner) -> None:
    backwards = dict(reversed(CLAIMS.items()))
    text = json.dumps(CLAIMS, separators=(",", ":")).encode()
    assert part(sign(CLAIMS, signer), 1) == text
    assert part(sign(backwards, signer), 1) != text
    assert list(json.loads(part(sign(backwards, signer), 1))) == list(backwards)


def test_token_verifies_with_its_public_key_only(signer: TokenSigner) -> None:
    token = sign(CLAIMS, signer)
    options: jwt.types.Options = {"verify_aud": False, "verify_exp": False}
    public = signer.key.public_key()
    assert jwt.decode(token, public, algorithms=["RS256"], options=options) == CLAIMS
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, new_key().public_key(), algorithms=["RS256"], options=options)


def test_signature_is_as_long_as_the_key(signer: TokenSigner) -> None:
    assert len(part(sign(CLAIMS, signer), 2)) == 2048 // 8
