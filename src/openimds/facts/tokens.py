"""Tokens: their lifetime, the members of the response, and the claims."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, chosen, documented, inferred, observed


class TokenMember(Struct, frozen=True):
    """A member of the body of a token response; all of them are strings."""

    name: str
    evidence: Evidence


class Claim(Struct, frozen=True):
    """A claim of an access token; `versions` are the token versions that have it."""

    name: str
    evidence: Evidence
    versions: tuple[str, ...] = ("1.0", "2.0")


SKEW_S = 300
"""`nbf` is this long before the issue of the token, so that `exp - nbf` is 86,700 s."""
LIFE_S = 86400
LIFE_EVIDENCE = observed(
    "S29",
    "S61",
    note="expires_on - not_before = 86700; a fresh token has expires_in 86400, a kept one less",
)
LAST_SECOND_S = 1
"""`ext_expires_in` is one second below the lifetime: 86399 (S29, S61)."""

_BODY = observed("S29", note="2024-03-07, 1669 bytes: members sorted, every value a string")
MEMBERS: tuple[TokenMember, ...] = tuple(
    TokenMember(name, _BODY)
    for name in (
        "access_token",
        "client_id",
        "expires_in",
        "expires_on",
        "ext_expires_in",
        "not_before",
        "resource",
        "token_type",
    )
)

_SEEN = observed("S33", "S84")
_V1, _V2 = ("1.0",), ("2.0",)
_OPAQUE = observed("S33", "S84", note="opaque; here a hash of the token's other values")
_ARM = observed("S84", note="tokens of Azure Resource Manager alone")
CLAIMS: tuple[Claim, ...] = (
    Claim("aud", _SEEN),
    Claim("iss", _SEEN),
    Claim("iat", _SEEN),
    Claim("nbf", _SEEN),
    Claim("exp", _SEEN),
    Claim("aio", _OPAQUE),
    Claim("appid", _SEEN, _V1),
    Claim("appidacr", _SEEN, _V1),
    Claim("azp", inferred("S33", note="the name of appid in version 2.0"), _V2),
    Claim("azpacr", inferred("S33", note="the name of appidacr in version 2.0"), _V2),
    Claim("idp", _SEEN, _V1),
    Claim("idtyp", observed("S33", "S84", note="in all tokens since 2025")),
    Claim("oid", _SEEN),
    Claim("rh", _OPAQUE),
    Claim("sub", _SEEN),
    Claim("tid", _SEEN),
    Claim("uti", _OPAQUE),
    Claim("ver", _SEEN),
    Claim("xms_act_fct", observed("S84", note="3 9 or 9 3, since 2025-11"), _V1),
    Claim("xms_az_rid", observed("S33", "S84", note="only for user-assigned identities")),
    Claim("xms_ftd", observed("S84", note="since 2025-09; opaque, and ends in a region"), _V1),
    Claim("xms_idrel", observed("S84", note="7 and an even number, since 2024-08"), _V1),
    Claim("xms_mirid", _SEEN),
    Claim("xms_rd", observed("S84", note="since 2025-09; opaque"), _V1),
    Claim("xms_sub_fct", observed("S84", note="3 9 or 9 3, since 2025-11"), _V1),
    Claim("xms_tcdt", _ARM, _V1),
)
"""In the order of the token. `xms_az_nwperimid` is in no recorded one."""

ARM_AUDIENCE = "https://management."
"""The beginning of the audiences of Azure Resource Manager, in every cloud."""
REQUESTED_CLAIMS = frozenset({"xms_az_nwperimid"})
"""The keys that a request's `claims` may have (S64)."""

MULTI_TENANT = ("common", "organizations")
"""The segments that stand for every tenant in paths of discovery documents and keys."""
TENANT_BLANK = "{tenantid}"
"""The tenant in the issuer of their documents, for the reader to fill."""
DISCOVERY_EVIDENCE = documented("S72", note="OpenID Connect requires both endpoints")
MULTI_TENANT_EVIDENCE = documented("S72", note="the issuer has {tenantid} for the tenant")

TENANT_NAME = "OpenIMDS"
TENANT_NAME_EVIDENCE = chosen(
    "Entra's errors name a tenant by its display name (S10, S80); every tenant here has this one"
)

ROLES, GROUPS = "roles", "groups"
CLAIM_NAMES, CLAIM_SOURCES = "_claim_names", "_claim_sources"
MOST_GROUPS_IN_TOKEN = 200
"""A principal in more groups has a token with the overage form, which names a source instead."""
GROUPS_SOURCE = "src1"
GROUPS_ENDPOINT = "{graph}/v1.0/servicePrincipals/{principal}/getMemberObjects"

OWN_CLAIMS: tuple[Claim, ...] = (
    Claim(
        CLAIM_NAMES,
        documented("S92", note="the overage form of groups: more than 200 for a JWT"),
    ),
    Claim(
        CLAIM_SOURCES,
        documented("S92", note="of a user; that of a service principal is assumed"),
    ),
    Claim(GROUPS, documented("S92", note="object ids, for a resource with the groups claim")),
    Claim(ROLES, documented("S92", note="values of app roles; Azure's are those of one resource")),
)
"""The claims of a token that an administrator gives to an identity."""
USER_CLAIMS = (
    "acr",
    "acrs",
    "amr",
    "auth_time",
    "deviceid",
    "email",
    "family_name",
    "given_name",
    "hasgroups",
    "ipaddr",
    "name",
    "nonce",
    "onprem_sid",
    "preferred_username",
    "puid",
    "scp",
    "unique_name",
    "upn",
    "verified_primary_email",
)
"""Claims of a signed-in user, which no token of a managed identity has."""
CARRIER_CLAIM = "xms_az_rid"
PROTOCOL_CLAIMS = frozenset({row.name for row in CLAIMS} | set(USER_CLAIMS)) - {CARRIER_CLAIM}
"""The claims that no administrator can give to an identity."""

EXCLUSIVE_EVIDENCE = documented("S4", note="client_id, object_id and msi_res_id exclude each other")
