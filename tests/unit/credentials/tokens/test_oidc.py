import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import RSAAlgorithm

from openimds.credentials.keys.keyring import Keyring, PublicKey, kid_of
from openimds.credentials.tokens import oidc
from openimds.facts.clouds import PUBLIC
from openimds.protocol.access_token import issuers

TENANT = "11111111-2222-3333-4444-555555555555"
BASE = "http://127.0.0.1:8170"

# openssl genrsa 2048; openssl rsa -pubout; openssl rsa -noout -modulus; and for the kid
# openssl rsa -pubout -outform DER | openssl dgst -sha1 -binary | basenc --base64url
PEM = b"""-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlcgBMzNSGQ0uizqhtknD
a+tWpj2sKC96qY460STmvB5YrcE2CEjLrrCvxgMJiDMdL1GhvfceHbs2KyheoaQR
6A5EB3C0jzmY1k1Hg6tCZKRp7vB+ueHputH9LbyiBjMx7gY0h9RFxGfbsJ2c+EdG
sHHGWEUEJtcFC4y5tlJGPBcdjCI4eJgkMMJ+upfV6vJ4NJ57zJ+CXYi5tS9qjWcL
KQz54QV11xLFudNoWuBGToFYfO0XJbLJWmwua7inp2vuI6MpzeEzib9iYsRzg2JU
NLxbkykANaaAOyrrbK+dSwOj5H1exCOKNixxhk+w1/zV5PxMoYICOme6FgdPZdyL
vQIDAQAB
-----END PUBLIC KEY-----
"""
MODULUS = (
    "95C801333352190D2E8B3AA1B649C36BEB56A63DAC282F7AA98E3AD124E6BC1E58ADC1360848CBAEB0AFC6030988"
    "331D2F51A1BDF71E1DBB362B285EA1A411E80E440770B48F3998D64D4783AB4264A469EEF07EB9E1E9BAD1FD2DBC"
    "A2063331EE063487D445C467DBB09D9CF84746B071C658450426D7050B8CB9B652463C171D8C223878982430C27E"
    "BA97D5EAF278349E7BCC9F825D88B9B52F6A8D670B290CF9E10575D712C5B9D3685AE0464E81587CED1725B2C95A"
    "6C2E6BB8A7A76BEE23A329CDE13389BF6262C47383625434BC5B93290035A6803B2AEB6CAF9D4B03A3E47D5EC423"
    "8A362C71864FB0D7FCD5E4FC4CA182023A67BA16074F65DC8BBD"
)
KID = "PUkRt96mC1wan74nxII-iRw46dc"


def known_key() -> PublicKey:
    key = load_pem_public_key(PEM)
    assert isinstance(key, RSAPublicKey)
    return PublicKey(kid_of(key), key)


def walk(value: object) -> Iterator[tuple[str, object]]:
    """Yield every member name of a document with its value, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_jwk_has_the_values_that_openssl_prints() -> None:
    (row,) = oidc.jwks([known_key()])["keys"]
    n = urlsafe_b64decode(row.pop("n") + "==")
    assert n.hex().upper() == MODULUS
    assert row == {"kty": "RSA", "use": "sig", "kid": KID, "x5t": KID, "e": "AQAB"}


def test_number_has_no_leading_zero_and_no_padding() -> None:
    # RFC 7518, 6.3.1: as few octets as hold it; 3 is one octet.
    (row,) = oidc.jwks([PublicKey("k", RSAPublicNumbers(3, 2**2047 + 1).public_key())])["keys"]
    assert row["e"] == "Aw"
    assert len(row["n"]) == 342  # 256 octets.


def test_keys_of_v2_tokens_name_their_issuer() -> None:
    (row,) = oidc.jwks([known_key()], "https://issuer")["keys"]
    assert row["issuer"] == "https://issuer"
    assert "issuer" not in oidc.jwks([known_key()])["keys"][0]


def test_keys_keep_their_order() -> None:
    keys = [PublicKey(kid, known_key().key) for kid in ("c", "a", "b")]
    assert [row["kid"] for row in oidc.jwks(keys)["keys"]] == ["c", "a", "b"]


@pytest.mark.parametrize("issuer", ["", "https://issuer"])
def test_no_part_of_a_private_key_is_published(issuer: str) -> None:
    ring = Keyring.open(None)
    secrets = []
    for now_s in (0, 1):
        secrets.append(ring.signer(now_s).key.private_numbers())
        ring.rotate(now_s)
    document = oidc.jwks(ring.public(1), issuer)
    assert len(document["keys"]) == 3
    members = [name for name, _ in walk(document)]
    assert set(members) - {"keys"} <= {"kty", "use", "kid", "x5t", "n", "e", "issuer"}
    assert not set(members) & {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
    text = json.dumps(document)
    for numbers in secrets:
        n = numbers.public_numbers.n.to_bytes(256, "big")
        # The search would find a number: it finds the public one.
        assert urlsafe_b64encode(n).decode().rstrip("=") in text
        private = (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
        for number in private:
            octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
            for form in (str(number), f"{number:x}", urlsafe_b64encode(octets).decode()):
                assert form.rstrip("=") not in text


@pytest.mark.parametrize("base", [BASE, BASE + "/"])
def test_discovery_document_names_issuer_and_keys(base: str) -> None:
    v1, v2 = issuers(TENANT, PUBLIC, BASE)
    first, second = oidc.discovery_v1(TENANT, base, v1), oidc.discovery_v2(TENANT, base, v2)
    assert (first["issuer"], second["issuer"]) == (v1, v2)
    assert first["jwks_uri"] == f"{BASE}/{TENANT}/discovery/keys"
    assert second["jwks_uri"] == f"{BASE}/{TENANT}/discovery/v2.0/keys"
    # The paths of Entra.
    assert first["authorization_endpoint"] == f"{BASE}/{TENANT}/oauth2/authorize"
    assert second["authorization_endpoint"] == f"{BASE}/{TENANT}/oauth2/v2.0/authorize"
    assert first["token_endpoint"] == f"{BASE}/{TENANT}/oauth2/token"
    assert second["token_endpoint"] == f"{BASE}/{TENANT}/oauth2/v2.0/token"


def test_discovery_document_has_the_required_members() -> None:
    for build in (oidc.discovery_v1, oidc.discovery_v2):
        # OpenID Connect Discovery 1.0, section 3: those that are REQUIRED, and no others.
        assert build(TENANT, BASE, "https://issuer").keys() == {
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "response_types_supported",
            "subject_types_supported",
            "id_token_signing_alg_values_supported",
        }


def test_pyjwt_reads_the_keys() -> None:
    keys = jwt.PyJWKSet.from_dict(oidc.jwks([known_key()], "https://issuer"))
    key = keys[KID]
    assert (key.key_type, key.public_key_use) == ("RSA", "sig")
    assert isinstance(key.Algorithm, RSAAlgorithm)
    assert key.Algorithm.hash_alg is RSAAlgorithm.SHA256
    assert key.key.public_numbers() == known_key().key.public_numbers()
