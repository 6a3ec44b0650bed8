"""Managed-identity tokens: which identity is meant, what the token claims, what the body says."""

import re
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha512
from uuid import UUID

import msgspec.json
from msgspec import Struct

from openimds.facts.clouds import CLOUDS
from openimds.facts.tokens import CLAIMS, LAST_SECOND_S, SKEW_S
from openimds.protocol.pending import AccessToken, PendingToken
from openimds.protocol.request import Query
from openimds.vm.identities import Principal

SELECTORS = ("client_id", "object_id", "msi_res_id", "mi_res_id")
V1, V2 = "1.0", "2.0"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
"""RFC 3986, section 3.1."""
LONGEST_RESOURCE = 512
"""Entra's App ID URIs have at most 255 letters; what a guest makes us keep has to end somewhere."""


class TokenSettings(Struct, frozen=True):
    """What the operator decides about tokens.

    `issuer` replaces Azure's, so that discovery at `iss` finds our keys; `v2` are the resources
    whose tokens are of version 2.0.
    """

    life_s: int
    issuer: str = ""
    v2: frozenset[str] = frozenset()


def select(query: Query, held: tuple[Principal, ...]) -> Principal | str:
    """Return the identity that a request means, or the key of a refusal.

    Without a selector: the system-assigned one, else the only user-assigned one (S33).
    """
    asked = [
        (name, query.parameters[name].lower()) for name in SELECTORS if query.parameters.get(name)
    ]
    return choose(asked, held)


def choose(
    asked: list[tuple[str, str]], held: tuple[Principal, ...], *, falls_back: bool = True
) -> Principal | str:
    """Return the identity that selectors mean, or the key of a refusal.

    Without a selector the system-assigned one is meant. A VM that has none `falls_back` on its
    only user-assigned one, or does not.
    """
    if len(asked) > 1:
        return "selectors_exclude"
    if asked:
        found = [one for one in held if _is_meant(one, *asked[0])]
        return found[0] if found else "identity_not_found"
    if not held:
        return "identity_not_found"
    if held[0].is_system:
        return held[0]
    if not falls_back:
        return "identity_not_found"
    return held[0] if len(held) == 1 else "identity_ambiguous"


def _is_meant(one: Principal, name: str, value: str) -> bool:
    match name:
        case "client_id":
            return one.client_id.lower() == value
        case "object_id":
            return one.object_id.lower() == value
        case _:
            # Only a user-assigned identity is a resource; ids of resources have no letter case.
            return not one.is_system and one.mirid.lower() == value


def is_resource(text: str) -> bool:
    """Tell whether a resource could be one: a GUID, or a URI with a scheme."""
    if len(text) > LONGEST_RESOURCE:
        return False
    scheme, separator, rest = text.partition(":")
    if separator and rest.strip("/") and _SCHEME.fullmatch(scheme):
        return True
    return _is_guid(text.removesuffix("/"))


def _is_guid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def unknown_resource(need: PendingToken, now_s: float) -> dict[str, str]:
    """Return the blanks of Entra's refusal of a resource that it does not know."""
    at = datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return {
        "resource": msgspec.json.encode(need.resource).decode()[1:-1],
        "tenant": need.identity.tenant_id,
        "trace": _guid(need, now_s, "trace"),
        "correlation": _guid(need, now_s, "correlation"),
        "at": at,
        "login": CLOUDS[need.cloud].issuer_v2.removeprefix("https://"),
    }


def _guid(need: PendingToken, now_s: float, kind: str) -> str:
    return str(UUID(bytes=_seed(need, int(now_s), kind)[:16], version=4))


def issuers(tenant: str, cloud: str, issuer: str = "") -> tuple[str, str]:
    """Return the values of `iss` in tokens of version 1.0 and 2.0."""
    row = CLOUDS[cloud]
    return f"{issuer or row.issuer}/{tenant}/", f"{issuer or row.issuer_v2}/{tenant}/v2.0"


def is_v2(resource: str, terms: TokenSettings) -> bool:
    """Tell whether tokens for a resource are of version 2.0."""
    return resource.rstrip("/").lower() in terms.v2


def claims(need: PendingToken, terms: TokenSettings, now_s: float) -> dict[str, object]:
    """Return the claims of a token that is made now, in the order of the token."""
    one, made_s = need.identity, int(now_s)
    version = V2 if is_v2(need.resource, terms) else V1
    issuer = issuers(one.tenant_id, need.cloud, terms.issuer)[version == V2]
    known: dict[str, object] = {
        # A token of version 2.0 names its audience by the bare id of the application.
        "aud": need.resource if version == V1 else _application(need.resource),
        "iss": issuer,
        "iat": made_s - SKEW_S,
        "nbf": made_s - SKEW_S,
        "exp": made_s + terms.life_s,
        "aio": _opaque(need, now_s, "aio", 36),
        "appid": one.client_id,
        "appidacr": "2",
        "azp": one.client_id,
        "azpacr": "2",
        "idp": issuer,
        "idtyp": "app",
        "oid": one.object_id,
        "rh": "1." + _opaque(need, 0, "rh", 34) + ".",
        "sub": one.object_id,
        "tid": one.tenant_id,
        "uti": _opaque(need, now_s, "uti", 16),
        "ver": version,
        "xms_az_nwperimid": [],
        "xms_mirid": one.mirid,
    }
    if one.carrier:
        known["xms_az_rid"] = one.carrier
    return {
        row.name: known[row.name] for row in CLAIMS if row.name in known and version in row.versions
    }


def _application(resource: str) -> str:
    """Return the bare id of the application in `api://…`, as far as there is one."""
    scheme, separator, rest = resource.partition("://")
    return rest.rstrip("/") if separator and scheme.lower() == "api" else resource


def _opaque(need: PendingToken, now_s: float, kind: str, size_bytes: int) -> str:
    return urlsafe_b64encode(_seed(need, now_s, kind)[:size_bytes]).rstrip(b"=").decode()


def _seed(need: PendingToken, now_s: float, kind: str) -> bytes:
    """Return 64 bytes that belong to these facts; another fraction of a second has others."""
    facts = (kind, need.vm, need.identity.client_id, need.resource, str(now_s))
    return sha512("\0".join(facts).encode()).digest()


def body(need: PendingToken, token: AccessToken, now_s: float) -> bytes:
    """Return the body of the answer now; `expires_in` counts down."""
    last_s = max(0, token.life_s - LAST_SECOND_S)
    left_s = min(last_s, max(0, token.expires_s - int(now_s) - LAST_SECOND_S))
    return msgspec.json.encode(
        {
            "access_token": token.text,
            "client_id": need.identity.client_id,
            "expires_in": str(left_s),
            "expires_on": str(token.expires_s),
            "ext_expires_in": str(last_s),
            "not_before": str(token.not_before_s),
            "resource": need.resource,
            "token_type": "Bearer",
        }
    )
