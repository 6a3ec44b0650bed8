"""The operation that gives a VM's access token to the operator."""

import asyncio
from http import HTTPStatus
from shlex import quote
from urllib.parse import urlencode

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.input_types import object_type
from openimds.admin.operation import (
    BAD,
    CONFLICT,
    JSON,
    LARGE,
    NONE,
    OK,
    SLOW,
    STORE,
    TYPE,
    UNFIT,
    VM_NAME,
    Answer,
    Content,
    Operation,
    Tag,
)
from openimds.admin.problem import ProblemError, no_vm
from openimds.admin.services import AdminServices
from openimds.parameters import Parameter, read_fields
from openimds.protocol.access_token import LONGEST_RESOURCE
from openimds.protocol.response import Refusal
from openimds.vm.decode import decode
from openimds.vm.types import Vm

_PATH, _VERSION = "/metadata/identity/oauth2/token", "2018-02-01"
_SELECTORS = {"client_id": "client_id", "principal_id": "object_id", "resource_id": "msi_res_id"}
"""The parameters of IMDS by the names of the admin API."""

TOKEN_REQUEST: tuple[Parameter, ...] = (
    Parameter(
        "resource",
        str,
        "The service that accepts the token.",
        minimum=1,
        maximum=LONGEST_RESOURCE,
        required=True,
        metavar="URI",
    ),
    Parameter("client_id", str, "The identity with this client id.", metavar="GUID"),
    Parameter("principal_id", str, "The identity with this object id.", metavar="GUID"),
    Parameter("resource_id", str, "The user-assigned identity of this id.", metavar="ID"),
)

TokenInput = object_type("TokenInput", TOKEN_REQUEST)


async def issue_token(services: AdminServices, request: Request) -> Answer:
    """Return the answer that a VM gets to a token request."""
    name = request.path_params["name"]
    wanted = read_fields(TOKEN_REQUEST, decode(await body_of(request), "body.json"))
    index = services.fleet_service.fleet_index
    entry = index.by_name.get(name)
    if entry is None:
        raise no_vm(name, index.reason_of(name))
    selectors = {_SELECTORS[key]: text for key, text in wanted.items() if key in _SELECTORS}
    query = {"api-version": _VERSION, "resource": wanted["resource"], **selectors}
    # Shielded: a caller who disconnects does not stop a signature that others wait for.
    answer = await asyncio.shield(services.get_as(entry.vm, f"{_PATH}?{urlencode(query)}"))
    if isinstance(answer, Refusal):
        raise _refused(entry.vm, answer, is_selected=bool(selectors))
    # No cache may keep a token.
    return Response(answer.body, headers={"Cache-Control": "no-store"}, media_type=JSON)


def _refused(vm: Vm, refusal: Refusal, *, is_selected: bool) -> ProblemError:
    """Return the problem of a refused token request, with the remedy."""
    if refusal.status >= HTTPStatus.TOO_MANY_REQUESTS:
        status = HTTPStatus.SERVICE_UNAVAILABLE
    else:
        status = HTTPStatus.CONFLICT
    if not vm.identities.system and not vm.identities.user:
        assign = f"openimds identity assign {quote(vm.name)} --system"
        return ProblemError(status, f"{vm.name} has no managed identity; type: {assign}")
    fields = msgspec.json.decode(refusal.body)
    detail = f"{vm.name} gets {refusal.status}: {fields['error_description']}"
    if refusal.row.key == "identity_not_found" and is_selected:
        detail += f"; openimds identity list --vm {quote(vm.name)} shows those that it has"
    elif refusal.row.key == "identity_ambiguous":
        detail += "; name one, as --user RESOURCE_ID or --client-id GUID"
    return ProblemError(status, detail)


_TOKEN = {
    "access_token": "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3ZhdWx0LmF6dXJlLm5ldCJ9.c2ln",
    "client_id": "c0000000-0000-0000-0000-000000000001",
    "expires_in": "86400",
    "expires_on": "1795463686",
    "ext_expires_in": "86399",
    "not_before": "1795376986",
    "resource": "https://vault.azure.net",
    "token_type": "Bearer",
}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="issue_token",
        method="POST",
        path="/v1/vms/{name}/token",
        tag=Tag.IDENTITIES,
        summary="Return the access token that the VM itself gets",
        description="The token and the body are those of `/metadata/identity/oauth2/token`, cached "
        "ones included. Rate limits and faults do not apply, and no request is recorded. At most "
        "one of clientId, principalId and resourceId selects an identity.",
        handler=issue_token,
        answers={OK: Content(dict[str, str], _TOKEN)},
        problems=(BAD, NONE, CONFLICT, LARGE, SLOW, TYPE, UNFIT, STORE),
        parameter=VM_NAME,
        takes=Content(TokenInput, {"resource": "https://vault.azure.net"}),
    ),
)
