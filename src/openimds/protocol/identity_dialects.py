"""Azure's other identity protocols: dialects of the token endpoint, and MSI v2."""

import hmac
from base64 import b64decode
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from uuid import UUID

import msgspec.json
from msgspec import Struct, structs

from openimds.errors import BAD_JSON
from openimds.facts.protocols import DIALECTS, MTLS, TOKEN_ROUTES, Dialect, Guard, Time
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
from openimds.vm.defaults import text_at
from openimds.vm.identities import Principal
from openimds.vm.types import Vm

_DIALECTS = {(row.endpoint, row.version): row for row in DIALECTS}
_BASIC = "basic "
_CHALLENGE_HEADER = "WWW-Authenticate"


@cache
def versions(endpoint: str) -> tuple[str, ...]:
    """Return the api-versions of an endpoint with a list of its own, the newest first."""
    return tuple(
        sorted((row.version for row in DIALECTS if row.endpoint == endpoint), reverse=True)
    )


def dialect(query: Query) -> Dialect | None:
    """Return the dialect of the query's endpoint, or None if it has none."""
    if query.endpoint is None:
        return None
    version = query.parameters.get("api-version", "") if query.endpoint.versions == "own" else ""
    return _DIALECTS.get((query.endpoint.key, version))


def guard(query: Query, secret: str) -> str:
    """Return the key of the refusal of a caller without proof, or nothing.

    At an unknown api-version the guard of any version will do: the version is refused next.
    """
    row = dialect(query)
    key = query.endpoint.key if query.endpoint else ""
    rows = [row] if row else [row for row in DIALECTS if row.endpoint == key]
    guards = {row.guard for row in rows} or {Guard.METADATA}
    if Guard.METADATA in guards:
        return "" if query.has_metadata_header else "header_missing"
    proofs = [value for name, value in query.credentials if name in guards]
    if not proofs:
        return "header_missing"
    # Compare all of them, each in constant time.
    wrong = [proof for proof in proofs if not hmac.compare_digest(proof.encode(), secret.encode())]
    return "secret_wrong" if wrong or not secret else ""


def select(query: Query, principals: tuple[Principal, ...]) -> Principal | str:
    """Return the identity that a query selects, or the key of a refusal."""
    row = dialect(query)
    if row is None:
        return access_token.select(query, principals)
    selectors = [
        (meaning, query.parameters[name].lower())
        for name, meaning in row.selectors
        if query.parameters.get(name)
    ]
    found = access_token.choose(selectors, principals, falls_back=row.falls_back)
    if found != "identity_not_found":
        return found
    if not selectors:
        return row.no_default
    is_system = row.is_lenient and bool(principals) and principals[0].is_system
    return principals[0] if is_system else found


def challenged(query: Query, pending: PendingToken) -> PendingToken | PendingChallenge:
    """Return the pending token with the caller's proof, or a challenge where it is missing."""
    row = dialect(query)
    if row is None or not row.is_challenged:
        return pending
    proofs = [value for name, value in query.credentials if name == "authorization"]
    if len(proofs) != 1 or not proofs[0].lower().startswith(_BASIC):
        return PendingChallenge(pending.vm)
    return structs.replace(pending, proof=proofs[0][len(_BASIC) :].strip())


def challenge(query: Query, file: Challenge, now_s: float) -> Refusal:
    """Return the refusal that names the file to read; it holds for this request only."""
    refusal = refuse("challenge", query, until_s=now_s)
    return structs.replace(refusal, headers=((_CHALLENGE_HEADER, f"Basic realm={file.path}"),))


def token_body(query: Query, pending: PendingToken, token: AccessToken, now_s: float) -> bytes:
    """Return the body of the response at `now_s`, in the dialect of the query."""
    row = dialect(query)
    if row is None:
        return access_token.body(pending, token, now_s)
    principal = pending.identity
    values: dict[str, object] = {
        "access_token": token.text,
        "client_id": principal.client_id,
        "expires_in": str(access_token.left_s(token, now_s)),
        "expires_on": _time(token.expires_s, row.time),
        "msi_res_id": principal.mirid,
        "not_before": str(token.not_before_s),
        "object_id": principal.object_id,
        "refresh_token": "",
        "resource": pending.resource,
        "token_type": "Bearer",
    }
    names = (*row.members, *(() if principal.is_system else row.confirms))
    return msgspec.json.encode({name: values[name] for name in names})


def _time(at_s: int, form: Time) -> str | int:
    if form is Time.NUMBER:
        return at_s
    return _date(at_s) if form is Time.DATE else str(at_s)


def _date(at_s: int) -> str:
    """Return a time as .NET writes it in American English."""
    at = datetime.fromtimestamp(at_s, UTC)
    half = "AM" if at.hour < 12 else "PM"  # noqa: PLR2004 - noon
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S} {half} +00:00"


def variables(route: str, url: str, secret: str = "", client_id: str = "") -> dict[str, str]:
    """Return the environment variables by which clients find a token route, by name.

    Without a `client_id`, those that hold one are left out.
    """
    values = {"url": url.removesuffix("/"), "secret": secret, "client_id": client_id}
    return {
        name: value.format_map(values)
        for name, value in TOKEN_ROUTES[route].variables
        if client_id or "{client_id}" not in value
    }


# MSI v2: the response is a certificate, with which the client requests a token elsewhere.


class _CertificateRequest(Struct):
    """The body of a request for a certificate."""

    csr: str
    attestation_token: str = ""


_CERTIFICATE_REQUEST = msgspec.json.Decoder(_CertificateRequest)


def platform_metadata(principal: Principal, vm: Vm) -> bytes:
    """Return the facts that a client puts into its request for a certificate."""
    unit = {"vmId": text_at(vm, "compute.vmId")}
    scale_set = text_at(vm, "compute.vmScaleSetName")
    if scale_set:
        subscription = text_at(vm, "compute.subscriptionId")
        group = text_at(vm, "compute.resourceGroupName")
        seed = f"{subscription}\0{group}\0{scale_set}".lower()
        unit["vmssId"] = str(UUID(bytes=sha256(seed.encode()).digest()[:16], version=4))
    return msgspec.json.encode(
        {
            "cuId": unit,
            "clientId": principal.client_id,
            "tenantId": principal.tenant_id,
            # OpenIMDS has no attestation service, and must not send clients to a real one.
            "attestationEndpoint": "",
        }
    )


def pending_certificate(query: Query, vm: Vm, principal: Principal) -> PendingCertificate | str:
    """Return the certificate to issue for a query, or the key of a refusal."""
    try:
        request = _CERTIFICATE_REQUEST.decode(query.body)
        csr = b64decode(request.csr, validate=True)
    except BAD_JSON:
        # Not JSON, another shape, not base64; or nested so deeply that it is an attack.
        return "request_malformed"
    if not request.attestation_token:
        return "attestation_missing"
    endpoint = MTLS[vm.cloud].format(region=text_at(vm, "compute.location"))
    return PendingCertificate(vm.name, principal, csr, endpoint)


def certificate_body(pending: PendingCertificate, certificate: Certificate) -> bytes:
    """Return the body of the response with a certificate."""
    principal = pending.identity
    return msgspec.json.encode(
        {
            "client_id": principal.client_id,
            "tenant_id": principal.tenant_id,
            "certificate": certificate.text,
            "identity_type": "SystemAssigned" if principal.is_system else "UserAssigned",
            "mtls_authentication_endpoint": pending.endpoint,
        }
    )
