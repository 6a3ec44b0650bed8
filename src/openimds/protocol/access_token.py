"""Managed-identity tokens: the identity that a query selects, the claims, and the body."""

import re
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256, shake_256
from uuid import UUID

import msgspec.json
from msgspec import Struct

from openimds.errors import BAD_JSON
from openimds.facts.clouds import CLOUDS, PUBLIC
from openimds.facts.tokens import (
    ARM_AUDIENCE,
    CLAIMS,
    LAST_SECOND_S,
    REQUESTED_CLAIMS,
    SKEW_S,
    TENANT_NAME,
)
from openimds.protocol.pending import AccessToken, PendingToken
from openimds.protocol.request import Query
from openimds.protocol.response import inside_json
from openimds.vm.claims import claims_in_token
from openimds.vm.identities import Principal

SELECTORS = ("client_id", "object_id", "msi_res_id", "mi_res_id")
V1, V2 = "1.0", "2.0"
_FIRST = frozenset({"aud", "iss", "iat", "nbf", "exp"})
"""The claims before those that are sorted by their names."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
"""RFC 3986, section 3.1."""
LONGEST_RESOURCE = 512
"""Entra's App ID URIs have at most 255 letters; a bound for the keys of the token cache."""


class TokenSettings(Struct, frozen=True):
    """The operator's settings for tokens.

    `life_s` is the lifetime. `issuer` replaces Azure's, so that discovery at `iss` finds this
    server's keys; `v2` are the resources whose tokens are of version 2.0. With `unsafe_claims` an
    identity's own claims replace even those that only Entra makes.
    """

    life_s: int
    issuer: str = ""
    v2: frozenset[str] = frozenset()
    unsafe_claims: bool = False


def select(query: Query, principals: tuple[Principal, ...]) -> Principal | str:
    """Return the identity that a query selects, or the key of a refusal.

    Without a selector: the system-assigned one, else the only user-assigned one (S33).
    """
    selectors = [
        (name, query.parameters[name].lower()) for name in SELECTORS if query.parameters.get(name)
    ]
    return choose(selectors, principals)


def choose(
    selectors: list[tuple[str, str]], principals: tuple[Principal, ...], *, falls_back: bool = True
) -> Principal | str:
    """Return the identity that selectors (name and value) mean, or the key of a refusal.

    `principals` are those of the VM, the system-assigned one first. Without a selector it is the
    system-assigned one; a VM without it `falls_back` on its only user-assigned one, or does not.
    """
    if len(selectors) > 1:
        return "selectors_exclude"
    if selectors:
        matches = [principal for principal in principals if _is_match(principal, *selectors[0])]
        return matches[0] if matches else "identity_not_found"
    if not principals:
        return "identity_not_found"
    if principals[0].is_system:
        return principals[0]
    if not falls_back:
        return "identity_not_found"
    return principals[0] if len(principals) == 1 else "identity_ambiguous"


def _is_match(principal: Principal, name: str, value: str) -> bool:
    match name:
        case "client_id":
            return principal.client_id.lower() == value
        case "object_id":
            return principal.object_id.lower() == value
        case _:
            # Only a user-assigned identity is a resource; ids of resources have no letter case.
            return not principal.is_system and principal.mirid.lower() == value


def may_claim(query: Query) -> bool:
    """Tell whether the `claims` of a query, if any, are an object with known keys."""
    text = query.parameters.get("claims", "")
    if not text:
        return True
    try:
        asked = msgspec.json.decode(text)
    except BAD_JSON:
        return False
    return isinstance(asked, dict) and asked.keys() <= REQUESTED_CLAIMS


def is_resource(text: str) -> bool:
    """Tell whether a text can be a resource: a GUID, or a URI."""
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


def unknown_resource(pending: PendingToken, now_s: float) -> dict[str, str]:
    """Return the blanks of Entra's refusal of an unknown resource."""
    at = datetime.fromtimestamp(int(now_s), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return {
        "resource": msgspec.json.encode(pending.resource).decode()[1:-1],
        "tenant": TENANT_NAME,
        "trace": _guid(pending, now_s, "trace"),
        "correlation": _guid(pending, now_s, "correlation"),
        "at": at,
        "login": _login(pending.cloud, pending.region),
    }


def _login(cloud: str, region: str) -> str:
    """Return the host that explains an error: a regional one, seen in the public cloud."""
    if cloud == PUBLIC:
        prefix = f"{region.lower()}." if region else ""
        return inside_json(f"{prefix}login.microsoft.com")
    return CLOUDS[cloud].issuer_v2.removeprefix("https://")


def _guid(pending: PendingToken, now_s: float, kind: str) -> str:
    return str(UUID(bytes=_seed(pending, int(now_s), kind, 16), version=4))


def issuers(tenant: str, cloud: str, issuer: str = "") -> tuple[str, str]:
    """Return the values of `iss` in tokens of version 1.0 and 2.0."""
    row = CLOUDS[cloud]
    return f"{issuer or row.issuer}/{tenant}/", f"{issuer or row.issuer_v2}/{tenant}/v2.0"


def is_v2(resource: str, settings: TokenSettings) -> bool:
    """Tell whether tokens for a resource are of version 2.0."""
    return resource.rstrip("/").lower() in settings.v2


def claims(pending: PendingToken, settings: TokenSettings, now_s: float) -> dict[str, object]:
    """Return the claims of a token issued at `now_s`, in the order of the token."""
    principal, issued_s = pending.identity, int(now_s)
    version = V2 if is_v2(pending.resource, settings) else V1
    issuer = issuers(principal.tenant_id, pending.cloud, settings.issuer)[version == V2]
    is_arm = pending.resource.lower().startswith(ARM_AUDIENCE)
    values: dict[str, object] = {
        # A token of version 2.0 names its audience by the bare id of the application.
        "aud": pending.resource if version == V1 else _application(pending.resource),
        "iss": issuer,
        "iat": issued_s - SKEW_S,
        "nbf": issued_s - SKEW_S,
        "exp": issued_s + settings.life_s,
        "aio": _aio(pending, now_s, is_arm=is_arm),
        "appid": principal.client_id,
        "appidacr": "2",
        "azp": principal.client_id,
        "azpacr": "2",
        "idp": issuer,
        "idtyp": "app",
        "oid": principal.object_id,
        "rh": "1." + _opaque(pending, 0, "rh", 39, b"\x01") + ".",
        "sub": principal.object_id,
        "tid": principal.tenant_id,
        "uti": _opaque(pending, now_s, "uti", 16),
        "ver": version,
        "xms_act_fct": "3 9",
        "xms_ftd": _opaque(pending, 0, "ftd", 32, after=f"\x01{pending.region}-dsms".encode()),
        "xms_idrel": f"7 {2 + 2 * (_seed(pending, 0, 'idrel', 1)[0] % 15)}",
        "xms_mirid": principal.mirid,
        "xms_rd": "0." + _opaque(pending, 0, "rd", 49, b"\xe3b\xe3`\x10"),
        "xms_sub_fct": "3 9",
    }
    if is_arm:
        values["xms_tcdt"] = _founded_s(principal.tenant_id)
    if principal.carrier:
        values["xms_az_rid"] = principal.carrier
    in_order = {
        row.name: values[row.name]
        for row in CLAIMS
        if row.name in values and version in row.versions
    }
    return _with_own(in_order, principal.own_claims, settings) if principal.own_claims else in_order


def _with_own(claims: dict[str, object], own: bytes, settings: TokenSettings) -> dict[str, object]:
    """Return claims with those of the identity, in Entra's order: by name after `exp`."""
    merged = {**claims, **claims_in_token(own, is_unsafe=settings.unsafe_claims)}
    first = [name for name in merged if name in _FIRST]
    return {name: merged[name] for name in [*first, *sorted(merged.keys() - set(first))]}


def _application(resource: str) -> str:
    """Return the bare id of the application in `api://…`; another resource stays as it is."""
    scheme, separator, rest = resource.partition("://")
    return rest.rstrip("/") if separator and scheme.lower() == "api" else resource


def _aio(pending: PendingToken, now_s: float, *, is_arm: bool) -> str:
    """Return an opaque value, which is longer for Azure Resource Manager."""
    head, size_bytes = (b"\x01\x64\x00\x9b\xff", 105) if is_arm else (b"\x93\x64\x60\x60", 23)
    return b64encode(head + _seed(pending, now_s, "aio", size_bytes - len(head))).decode()


def _opaque(  # noqa: PLR0913, PLR0917 - the parts of a value
    pending: PendingToken,
    now_s: float,
    kind: str,
    size_bytes: int,
    head: bytes = b"",
    after: bytes = b"",
) -> str:
    """Return `size_bytes` that begin with `head`, and `after`, in base64 for URLs."""
    octets = head + _seed(pending, now_s, kind, size_bytes - len(head)) + after
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _founded_s(tenant: str) -> int:
    """Return the birth of a tenant in seconds since 1970, from its id."""
    return 1_400_000_000 + int.from_bytes(sha256(tenant.encode()).digest()[:4]) % 300_000_000


def _seed(pending: PendingToken, now_s: float, kind: str, size_bytes: int) -> bytes:
    """Return bytes derived from the request, the kind of value and the exact time."""
    facts = (kind, pending.vm, pending.identity.client_id, pending.resource, str(now_s))
    return shake_256("\0".join(facts).encode()).digest(size_bytes)


def left_s(token: AccessToken, now_s: float) -> int:
    """Return the seconds that a token is valid, rounded down.

    In the second of its issue that is its whole life (S61).
    """
    seconds = token.expires_s - int(now_s)
    return token.life_s if seconds >= token.life_s else max(0, seconds - LAST_SECOND_S)


def body(pending: PendingToken, token: AccessToken, now_s: float) -> bytes:
    """Return the body of the response at `now_s`; `expires_in` counts down."""
    return msgspec.json.encode(
        {
            "access_token": token.text,
            "client_id": pending.identity.client_id,
            "expires_in": str(left_s(token, now_s)),
            "expires_on": str(token.expires_s),
            "ext_expires_in": str(max(0, token.life_s - LAST_SECOND_S)),
            "not_before": str(token.not_before_s),
            "resource": pending.resource,
            "token_type": "Bearer",
        }
    )
