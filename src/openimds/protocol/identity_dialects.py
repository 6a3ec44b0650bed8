"""The other ways to a managed identity: dialects of the token endpoint, and version 2."""

import hmac
from base64 import b64decode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from uuid import UUID

import msgspec.json
from msgspec import Struct, structs

from openimds.facts.protocols import DIALECTS, MTLS, TOKEN_ROUTES, Dialect, Guard, Time
from openimds.facts.tokens import LAST_SECOND_S
from openimds.protocol import access_token
from openimds.protocol.pending import (
    AccessToken,
    Certificate,
    Challenge,
    PendingCertificate,
    PendingChallenge,
    PendingToken,
)
from openimds.protocol.request import Query
from openimds.protocol.response import Refusal, refuse
from openimds.vm.identities import Principal
from openimds.vm.types import Vm

_DIALECTS = {(row.endpoint, row.version): row for row in DIALECTS}
_BASIC = "basic "
_CHALLENGE_HEADER = "WWW-Authenticate"


@cache
def versions(endpoint: str) -> tuple[str, ...]:
    """Return the api-versions of an endpoint that has its own, the newest first."""
    return tuple(
        sorted((row.version for row in DIALECTS if row.endpoint == endpoint), reverse=True)
    )


def dialect(query: Query) -> Dialect | None:
    """Return how a token is asked for here, or None at IMDS's own path."""
    assert query.endpoint is not None  # The first gate saw to it.
    version = query.parameters.get("api-version", "") if query.endpoint.versions == "own" else ""
    return _DIALECTS.get((query.endpoint.key, version))


def guard(query: Query, secret: str) -> str:
    """Return the key of the refusal of a caller who proves nothing, or nothing.

    At an api-version that nobody knows any proof will do: the version is refused next.
    """
    known = dialect(query)
    assert query.endpoint is not None
    key = query.endpoint.key
    rows = [known] if known else [row for row in DIALECTS if row.endpoint == key]
    guards = {row.guard for row in rows} or {Guard.METADATA}
    if Guard.METADATA in guards:
        return "" if query.has_metadata_header else "header_missing"
    given = [value for name, value in query.credentials if name in guards]
    if not given:
        return "header_missing"
    # Every one of them is compared, each in the same time whatever it says.
    wrong = [one for one in given if not hmac.compare_digest(one.encode(), secret.encode())]
    return "secret_wrong" if wrong or not secret else ""


def select(query: Query, held: tuple[Principal, ...]) -> Principal | str:
    """Return the identity that a request means, or the key of a refusal."""
    row = dialect(query)
    if row is None:
        return access_token.select(query, held)
    asked = [
        (meaning, query.parameters[name].lower())
        for name, meaning in row.selectors
        if query.parameters.get(name)
    ]
    return access_token.choose(asked, held, falls_back=row.falls_back)


def challenged(query: Query, need: PendingToken) -> PendingToken | PendingChallenge:
    """Return what is needed first: the token, or a file that the caller has to read."""
    row = dialect(query)
    if row is None or not row.is_challenged:
        return need
    given = [value for name, value in query.credentials if name == "authorization"]
    if len(given) != 1 or not given[0].lower().startswith(_BASIC):
        return PendingChallenge(need.vm)
    return structs.replace(need, proof=given[0][len(_BASIC) :].strip())


def challenge(query: Query, made: Challenge, now_s: float) -> Refusal:
    """Return the refusal that names the file; it is over at once."""
    said = refuse("challenge", query, until_s=now_s)
    return structs.replace(said, headers=((_CHALLENGE_HEADER, f"Basic realm={made.path}"),))


def body(query: Query, need: PendingToken, made: AccessToken, now_s: float) -> bytes:
    """Return the body of the answer now, in the dialect of the question."""
    row = dialect(query)
    if row is None:
        return access_token.body(need, made, now_s)
    one = need.identity
    known: dict[str, object] = {
        "access_token": made.text,
        "client_id": one.client_id,
        "expires_in": str(max(0, made.expires_s - int(now_s) - LAST_SECOND_S)),
        "expires_on": _time(made.expires_s, row.time),
        "msi_res_id": one.mirid,
        "not_before": str(made.not_before_s),
        "object_id": one.object_id,
        "refresh_token": "",
        "resource": need.resource,
        "token_type": "Bearer",
    }
    names = (*row.members, *(() if one.is_system else row.confirms))
    return msgspec.json.encode({name: known[name] for name in names})


def _time(at_s: int, how: Time) -> str | int:
    if how is Time.NUMBER:
        return at_s
    return _date(at_s) if how is Time.DATE else str(at_s)


def _date(at_s: int) -> str:
    """Return a time as .NET writes it in American English."""
    at = datetime.fromtimestamp(at_s, UTC)
    half = "AM" if at.hour < 12 else "PM"  # noqa: PLR2004 - noon
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {half} +00:00"


def variables(way: str, url: str, secret: str = "") -> dict[str, str]:
    """Return the variables by which clients find a way, by name."""
    return {
        name: value.format(url=url.removesuffix("/"), secret=secret)
        for name, value in TOKEN_ROUTES[way].variables
    }


# Version 2: not a token comes back, but a certificate with which to ask for one.


class _Wanted(Struct):
    """The body of a request for a certificate."""

    csr: str
    attestation_token: str = ""


_WANTED = msgspec.json.Decoder(_Wanted)


def platform(one: Principal, document: dict[str, object]) -> bytes:
    """Return what a client puts into its request for a certificate."""
    compute = _compute(document)
    unit = {"vmId": compute["vmId"]}
    if compute["vmScaleSetName"]:
        place = (compute[name] for name in ("subscriptionId", "resourceGroupName"))
        seed = "\0".join((*map(str, place), str(compute["vmScaleSetName"]))).lower()
        unit["vmssId"] = str(UUID(bytes=sha256(seed.encode()).digest()[:16], version=4))
    said = {"cuId": unit, "clientId": one.client_id, "tenantId": one.tenant_id}
    # No attestation service of ours: nobody shall be sent to a real one.
    return msgspec.json.encode({**said, "attestationEndpoint": ""})


def wanted(
    query: Query, vm: Vm, one: Principal, document: dict[str, object]
) -> PendingCertificate | str:
    """Return the certificate that a request wants, or the key of a refusal."""
    try:
        said = _WANTED.decode(query.body)
        csr = b64decode(said.csr, validate=True)
    except (ValueError, RecursionError):
        # Not JSON, not of this shape, not base64; or nested so deeply that it is an attack.
        return "request_malformed"
    if not said.attestation_token:
        return "attestation_missing"
    endpoint = MTLS[vm.cloud].format(region=_compute(document)["location"])
    return PendingCertificate(vm.name, one, csr, endpoint)


def credential(need: PendingCertificate, made: Certificate) -> bytes:
    """Return the body of the answer with a certificate."""
    return msgspec.json.encode(
        {
            "client_id": need.identity.client_id,
            "tenant_id": need.identity.tenant_id,
            "certificate": made.text,
            "identity_type": "SystemAssigned" if need.identity.is_system else "UserAssigned",
            "mtls_authentication_endpoint": need.endpoint,
        }
    )


def _compute(document: dict[str, object]) -> dict[str, object]:
    compute = document["compute"]
    assert isinstance(compute, dict)
    return compute
