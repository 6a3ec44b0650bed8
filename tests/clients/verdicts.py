"""The errors of verifying libraries for each forged token of a VM."""

PYJWT = {
    "forge:expired": "ExpiredSignatureError",
    "forge:not-yet-valid": "ImmatureSignatureError",
    "forge:wrong-audience": "InvalidAudienceError",
    "forge:wrong-issuer": "InvalidIssuerError",
    "forge:missing-claim": "MissingRequiredClaimError",
    "forge:unknown-key": "PyJWKClientError",
    "forge:bad-signature": "InvalidSignatureError",
    "forge:unsigned": "InvalidAlgorithmError",
}

_ODD = "JsonWebTokenError"
JSONWEBTOKEN = {
    "forge:expired": ("TokenExpiredError", "jwt expired"),
    "forge:not-yet-valid": ("NotBeforeError", "jwt not active"),
    "forge:wrong-audience": (_ODD, "jwt audience invalid. expected: {audience}"),
    "forge:wrong-issuer": (_ODD, "jwt issuer invalid. expected: {issuer}"),
    "forge:missing-claim": (_ODD, "jwt audience invalid. expected: {audience}"),
    # An error of the program: the library takes a key, not a set of keys.
    "forge:unknown-key": ("no key of that name", ""),
    "forge:bad-signature": (_ODD, "invalid signature"),
    "forge:unsigned": (_ODD, "jwt signature is required"),
}
