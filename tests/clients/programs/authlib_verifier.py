"""Authlib validates the discovery document of an issuer, then joserfc verifies a token by it."""

import json
import sys
import urllib.request
from typing import Any

from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc import jwt
from joserfc.jwk import KeySet

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def fetched(url: str, headers: dict[str, str] | None = None) -> Any:
    """Return the JSON at a URL."""
    with _open(urllib.request.Request(url, headers=headers or {}), timeout=30) as got:
        return json.load(got)


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return an issuer's metadata and the claims of a token, or the error."""
    metadata = OpenIDProviderMetadata(fetched(get_well_known_url(case["issuer"], external=True)))
    try:
        metadata.validate()
    except ValueError as error:
        return {"error": str(error), "metadata": metadata}
    query = f"?api-version=2018-02-01&resource={case['resource']}"
    answer = fetched(f"{case['imds']}/metadata/identity/oauth2/token{query}", {"Metadata": "true"})
    keys = KeySet.import_key_set(fetched(metadata["jwks_uri"]))
    token = jwt.decode(answer["access_token"], keys, algorithms=["RS256"])
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": metadata["issuer"]},
        aud={"essential": True, "value": case["audience"]},
    )
    registry.validate(token.claims)
    return {"metadata": metadata, "claims": token.claims}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
