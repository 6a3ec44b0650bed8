"""What a tenant publishes, so that strangers can verify its tokens: who it is, and its keys.

Entra publishes two of each, and so do we:

    /<tid>/.well-known/openid-configuration         /<tid>/discovery/keys
    /<tid>/v2.0/.well-known/openid-configuration    /<tid>/discovery/v2.0/keys
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable

from openimds.credentials.keys.keyring import PublicKey


def discovery_v1(tenant: str, base_url: str, issuer: str) -> dict[str, object]:
    """Return the discovery document of v1 tokens."""
    return _discovery(issuer, f"{base_url.rstrip('/')}/{tenant}/discovery/keys")


def discovery_v2(tenant: str, base_url: str, issuer: str) -> dict[str, object]:
    """Return the discovery document of v2 tokens."""
    return _discovery(issuer, f"{base_url.rstrip('/')}/{tenant}/discovery/v2.0/keys")


def jwks(keys: Iterable[PublicKey], issuer: str = "") -> dict[str, list[dict[str, str]]]:
    """Return the keys as a JWK set (RFC 7517); Entra's v2 set names the issuer in each of them.

    Entra's rows have x5c too, the certificate; these keys have none.
    """
    return {"keys": [_jwk(key, issuer) for key in keys]}


def _discovery(issuer: str, jwks_uri: str) -> dict[str, object]:
    """Return what OpenID Connect Discovery 1.0, section 3, requires of one who only issues tokens.

    It requires an authorization_endpoint and a token_endpoint as well. There are none here: tokens
    come from the metadata address, and an address that answers nothing would be a lie. The document
    of a Kubernetes cluster has none either, and verifiers live with that.
    """
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        # Required and never empty, so it is what Kubernetes says too; nobody can ask for it here.
        "response_types_supported": ["id_token"],
        # A sub is the identity's object id, the same for every audience; Entra's are pairwise.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def _jwk(key: PublicKey, issuer: str) -> dict[str, str]:
    # Member by member out of a public key: no private part can slip in.
    numbers = key.key.public_numbers()
    row = {
        "kty": "RSA",
        "use": "sig",
        "kid": key.kid,
        "x5t": key.kid,
        "n": _number(numbers.n),
        "e": _number(numbers.e),
    }
    return {**row, "issuer": issuer} if issuer else row


def _number(number: int) -> str:
    """Return a number as RFC 7518 writes it: its bytes without a leading zero, base64url."""
    form = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return urlsafe_b64encode(form).rstrip(b"=").decode()
