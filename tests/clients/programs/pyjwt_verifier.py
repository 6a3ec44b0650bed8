"""A resource server of a tenant: it finds keys by discovery and verifies with PyJWT.

As a program it takes cases as JSON on stdin and prints their results.
"""

import json
import sys
import urllib.request
from typing import Any

import jwt

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class ResourceServer:
    """Accepts tokens of one tenant for one audience."""

    def __init__(self, discovery: str, audience: str) -> None:
        """Read the discovery document at that address."""
        with _open(discovery, timeout=30) as got:
            self.document: dict[str, Any] = json.load(got)
        self.audience = audience
        # It looks for an unknown key at once; by default it waits 30 s.
        self.keys = jwt.PyJWKClient(self.document["jwks_uri"], cooldown_duration=0)

    def accept(self, token: str) -> dict[str, Any]:
        """Return the claims of a good token.

        Raises:
            jwt.PyJWTError: the token does not verify.
        """
        key = self.keys.get_signing_key_from_jwt(token)
        return jwt.decode(
            token,
            key,
            algorithms=self.document["id_token_signing_alg_values_supported"],
            audience=self.audience,
            issuer=self.document["issuer"],
            options={"require": ["exp", "nbf", "iat", "iss", "sub"]},
        )


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case."""
    try:
        return {"claims": ResourceServer(case["discovery"], case["audience"]).accept(case["token"])}
    except jwt.PyJWTError as error:
        return {"error": type(error).__name__}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
