"""OpenID Connect discovery documents and JWK sets, by which relying parties verify tokens.

As at Entra, each tenant has two of each, for v1 and v2 tokens:

    /<tid>/.well-known/openid-configuration         /<tid>/discovery/keys
    /<tid>/v2.0/.well-known/openid-configuration    /<tid>/discovery/v2.0/keys

The tenant may be `common` or `organizations`, which stand for all of them.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable

from openimds.credentials.keys.keyring import PublicKey


def discovery_v1(tenant: str, base_url: str, issuer: str) -> dict[str, object]:
    """Return the discovery document of v1 tokens."""
    return _discovery(issuer, f"{base_url.rstrip('/')}/{tenant}", "")


def discovery_v2(tenant: str, base_url: str, issuer: str) -> dict[str, object]:
    """Return the discovery document of v2 tokens."""
    return _discovery(issuer, f"{base_url.rstrip('/')}/{tenant}", "v2.0/")


def jwks(keys: Iterable[PublicKey], issuer: str = "") -> dict[str, list[dict[str, str]]]:
    """Return keys as a JWK set (RFC 7517).

    Each row of Entra's v2 set names the issuer. Entra's rows also have x5c, a certificate;
    these keys have none.
    """
    return {"keys": [_jwk(key, issuer) for key in keys]}


def _discovery(issuer: str, tenant_url: str, version: str) -> dict[str, object]:
    """Return the members that OpenID Connect Discovery 1.0, section 3, requires of an issuer.

    `version` is the segment of the version in paths, with its slash. The authorization_endpoint and
    the token_endpoint are required, too, and refuse every request: tokens come from the metadata
    address.
    """
    return {
        "issuer": issuer,
        "jwks_uri": f"{tenant_url}/discovery/{version}keys",
        "authorization_endpoint": f"{tenant_url}/oauth2/{version}authorize",
        "token_endpoint": f"{tenant_url}/oauth2/{version}token",
        # Required and never empty: the value of Kubernetes. No client can request it here.
        "response_types_supported": ["id_token"],
        # A sub is the identity's object id, equal for every audience; Entra's are pairwise.
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def _jwk(key: PublicKey, issuer: str) -> dict[str, str]:
    # Built member by member from a public key: no private part can slip in.
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
    """Encode a number as RFC 7518 does: its bytes without a leading zero, base64url."""
    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
