"""Revocation of the certificates of attested documents: paths, types, periods and reasons."""

from openimds.facts.evidence import chosen, documented, observed

CRL_PATH = "/pkiops/crl"
"""The path of a CA's list, `NAME.crl` below it, and `partition/NAME_PartitionNNNNN.crl`."""
CRL_PATH_EVIDENCE = observed("S73", note="lists in partitions are seen in the leaf of 2026")
CRL_TYPE = "application/pkix-crl"

BACKDATED_S = 3600
"""A verifier whose clock is slow by less than this accepts a new list."""
_DAY_S = 86_400
LEAF_CRL_SIGNED_S = 7 * _DAY_S
"""The time between two lists of end certificates."""
LEAF_CRL_LIFE_S = 10 * _DAY_S
"""The time from thisUpdate to nextUpdate of a list of end certificates."""
CA_CRL_SIGNED_S = 180 * _DAY_S
CA_CRL_LIFE_S = 360 * _DAY_S
"""The same two times of a list of CA certificates."""
CRL_EVIDENCE = documented(
    "S79", note="every 7 days with at most 10 days to go; of CAs at most 12 months"
)

OCSP_PATH = "/ocsp"
"""The path of the responder; a GET has the request in base64 behind it."""
OCSP_TYPE = "application/ocsp-response"
OCSP_SIGNED_S = 2 * _DAY_S
OCSP_LIFE_S = 4 * _DAY_S
"""The time between two responses, and from thisUpdate to nextUpdate."""
OCSP_EVIDENCE = documented("S79", note="8 hours to 10 days, and GET; within that, assumed")
OCSP_FORM_EVIDENCE = chosen(
    "responses are signed ahead (RFC 5019): a nonce is not answered, and a question about another "
    "certificate gets the unsigned unauthorized"
)
MAX_OCSP_REQUEST = 64 * 1024
"""The most octets of a request that are read."""

REASONS = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
)
"""The reasons of a revocation (RFC 5280, 5.3.1); an unspecified one is left out of lists."""
