"""Tokens: claims in, a signed JWT out."""

from collections.abc import Mapping

import jwt

from openimds.sign.keyring import Signer

ALGORITHM = "RS256"


def sign(claims: Mapping[str, object], signer: Signer) -> str:
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
