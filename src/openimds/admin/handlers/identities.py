"""The operations on managed identities, and on the keys that sign their tokens."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec.json
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.operation import (
    BAD,
    JSON,
    NONE,
    OK,
    STORE,
    VM_NAME,
    Answer,
    Content,
    Operation,
    QueryParameter,
    Tag,
)
from openimds.admin.pages import CURSOR, LIMIT, Page, decode_cursor, encode_cursor
from openimds.admin.problem import bad_query, no_vm
from openimds.admin.roles import Role
from openimds.admin.selection import SELECTION, query_selector
from openimds.admin.services import AdminServices, KeyTimes
from openimds.errors import ConfigError
from openimds.events.log_format import Moment
from openimds.fleet.selection import choose_names
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import StoredVm
from openimds.fleet.stored_bodies import decode_vm
from openimds.parameters import Parameter, read_base_url
from openimds.vm.claims import claims_in_token
from openimds.vm.identities import FORGE, SOURCES, principals, user_ids

_URL = QueryParameter(
    Parameter("url", str, "The URL by which clients reach the VM; by default its listener's."),
    "http://imds:8169",
)
_SLICE = 500
"""The number of VMs that are read from the store at once."""


class IdentityView(Struct, frozen=True, rename="camel", kw_only=True):
    """A managed identity; if `forged`, its tokens are bad on request.

    `claims` are those that its tokens have beside Entra's own: roles, groups and others.
    """

    vm: str
    kind: Literal["system", "user"]
    resource_id: str | UnsetType = UNSET
    client_id: str
    principal_id: str
    tenant_id: str
    source: Annotated[str, Meta(extra_json_schema={"enum": [*SOURCES]})]
    forged: bool
    claims: dict[str, Any] | UnsetType = UNSET


class IdentityPage(Page[IdentityView], frozen=True):
    """A page of managed identities."""


class KeyView(Struct, frozen=True, rename="camel", kw_only=True):
    """A key that signs tokens; a time is null while it is open."""

    kid: str
    began: Moment | None
    retired: Moment | None
    published_until: Moment | None


class KeyPage(Page[KeyView], frozen=True):
    """The published keys, the one in use first."""


class VmEndpoints(Struct, frozen=True):
    """The environment variables of a VM's clients.

    By token route (`app-service`, `arc`, ...), then by the name of the variable.
    """

    vm: str
    variables: dict[str, dict[str, str]]


class _Cursor(Struct, frozen=True, array_like=True):
    """The beginning of a page: after `count` identities of a VM."""

    vm: str
    count: Annotated[int, Meta(ge=0)]


async def list_identities(services: AdminServices, request: Request) -> Answer:
    """List the identities of all VMs by pages."""
    limit, fleet_service = LIMIT.read(request), services.fleet_service
    cursor = decode_cursor(request, _Cursor, _Cursor("", 0))
    selector = query_selector(request)
    chosen = {*await choose_names(fleet_service, selector)} if selector else None
    identities = await _rest_of_vm(fleet_service, cursor)
    after = cursor.vm
    # One identity more than the limit shows that there is another page.
    while len(identities) <= limit:
        page = await fleet_service.call_store(fleet_service.store.page, after, _SLICE)
        if not page:
            break
        after = page[-1].name
        served = [
            vm
            for vm in page
            if (chosen is None or vm.name in chosen)
            and not fleet_service.fleet_index.reason_of(vm.name)
        ]
        is_unsafe = fleet_service.unsafe_claims
        most = limit + 1 - len(identities)
        identities += await asyncio.to_thread(_identities_of_all, served, most, is_unsafe=is_unsafe)
    shown = identities[:limit]
    if len(identities) <= limit:
        return IdentityPage(shown, None)
    last = shown[-1].vm
    count = sum(identity.vm == last for identity in shown)
    before = cursor.count if last == cursor.vm else 0
    return IdentityPage(shown, encode_cursor(_Cursor(last, before + count)))


async def list_vm_identities(services: AdminServices, request: Request) -> Answer:
    """List the identities of one VM."""
    stored = await _stored(services.fleet_service, request.path_params["name"])
    is_unsafe = services.fleet_service.unsafe_claims
    return IdentityPage(identities_of(stored, is_unsafe=is_unsafe), None)


async def list_keys(services: AdminServices, _: Request) -> Answer:
    """List the keys of tokens, the one that signs first."""
    return await asyncio.to_thread(_keys, services)


async def rotate_key(services: AdminServices, _: Request) -> Answer:
    """Sign tokens with a new key from now on."""
    # Shielded: a caller who disconnects does not stop it half-way.
    now_s = services.fleet_service.utc()
    await asyncio.shield(asyncio.to_thread(services.credentials.rotate, now_s))
    return await asyncio.to_thread(_keys, services)


async def get_endpoints(services: AdminServices, request: Request) -> Answer:
    """Return the variables that lead the clients of a VM to each token route."""
    stored = await _stored(services.fleet_service, request.path_params["name"])
    url = _URL.read(request)
    try:
        base = read_base_url(url, _URL.row.name) if url else ""
    except ConfigError as error:
        raise bad_query(error) from None
    variables = await services.endpoint_variables(decode_vm(stored), base)
    endpoints = VmEndpoints(stored.name, variables)
    # It holds a secret, which no cache may keep.
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(endpoints), headers=headers, media_type=JSON)


def identities_of(stored: StoredVm, *, is_unsafe: bool) -> list[IdentityView]:
    """Return the identities of a VM, the system-assigned one first.

    `is_unsafe` is the setting `unsafe_claims`.
    """
    vm = decode_vm(stored)
    if not vm.identities.system and not vm.identities.user:
        return []
    # Resource ids as in the fleet file: the claims have a part of them in lower case.
    resource_ids = iter(user_ids(vm))
    return [
        IdentityView(
            vm=vm.name,
            kind="system" if principal.is_system else "user",
            resource_id=UNSET if principal.is_system else next(resource_ids),
            client_id=principal.client_id,
            principal_id=principal.object_id,
            tenant_id=principal.tenant_id,
            source=principal.source,
            forged=principal.source.startswith(FORGE),
            claims=claims_in_token(principal.own_claims, is_unsafe=is_unsafe) or UNSET,
        )
        for principal in principals(vm)
    ]


async def _rest_of_vm(fleet_service: FleetService, cursor: _Cursor) -> list[IdentityView]:
    """Return the identities of the cursor's VM that were on no earlier page."""
    if not cursor.count:
        return []
    stored = await fleet_service.call_store(fleet_service.store.get, cursor.vm)
    if stored is None or fleet_service.fleet_index.reason_of(cursor.vm):
        return []
    return identities_of(stored, is_unsafe=fleet_service.unsafe_claims)[cursor.count :]


def _identities_of_all(page: list[StoredVm], most: int, *, is_unsafe: bool) -> list[IdentityView]:
    """Return the identities of a page's first VMs, at least `most` if there are."""
    identities: list[IdentityView] = []
    for stored in _likely(page):
        identities += identities_of(stored, is_unsafe=is_unsafe)
        if len(identities) >= most:
            break
    return identities


def _likely(page: list[StoredVm]) -> Iterator[StoredVm]:
    """Yield the VMs that may have an identity; decoding all the others would take long."""
    return (stored for stored in page if b'"identities"' in stored.body)


async def _stored(fleet_service: FleetService, name: str) -> StoredVm:
    stored = await fleet_service.call_store(fleet_service.store.get, name)
    reason = fleet_service.fleet_index.reason_of(name)
    if stored is None or reason:
        raise no_vm(name, reason)
    return stored


def _keys(services: AdminServices) -> KeyPage:
    keys = services.credentials.key_infos(services.fleet_service.utc())
    return KeyPage([_key(key) for key in keys], None)


def _key(key: KeyTimes) -> KeyView:
    return KeyView(
        kid=key.kid,
        began=_time(key.began_s),
        retired=_time(key.retired_s),
        published_until=_time(key.until_s),
    )


def _time(at_s: float | None) -> str | None:
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


_RESOURCE_ID = (
    "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/lab"
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"
)
_IDENTITIES = IdentityPage(
    [
        IdentityView(
            vm="web-1",
            kind="user",
            resource_id=_RESOURCE_ID,
            client_id="c0000000-0000-0000-0000-000000000001",
            principal_id="b0000000-0000-0000-0000-000000000002",
            tenant_id="a0000000-0000-0000-0000-000000000004",
            source="local",
            forged=False,
        )
    ],
    None,
)
_KEYS = KeyPage(
    [
        KeyView(
            kid="nOo3ZDrODXEK1jKWhXslHR_KXEg",
            began="2026-11-22T19:54:46.000+00:00",
            retired=None,
            published_until=None,
        )
    ],
    None,
)
_ENDPOINTS = VmEndpoints(
    "web-1",
    {
        "app-service": {
            "IDENTITY_ENDPOINT": "http://imds:8169/msi/token",
            "IDENTITY_HEADER": "3b0d6c5e9a",
        }
    },
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_vm_identities",
        method="GET",
        path="/v1/vms/{name}/identities",
        tag=Tag.IDENTITIES,
        summary="List the managed identities of a VM",
        handler=list_vm_identities,
        answers={OK: Content(IdentityPage, _IDENTITIES)},
        problems=(NONE, STORE),
        parameter=VM_NAME,
    ),
    Operation(
        name="list_identities",
        method="GET",
        path="/v1/identities",
        tag=Tag.IDENTITIES,
        summary="List the managed identities of all VMs in the order of the VMs' names",
        handler=list_identities,
        answers={OK: Content(IdentityPage, _IDENTITIES)},
        problems=(BAD, STORE),
        queries=(LIMIT, CURSOR, *SELECTION),
    ),
    Operation(
        name="list_keys",
        method="GET",
        path="/v1/keys",
        tag=Tag.IDENTITIES,
        role=Role.READ,
        summary="List the keys that sign tokens, the one in use first",
        description="Names and times alone; no key material.",
        handler=list_keys,
        answers={OK: Content(KeyPage, _KEYS)},
        problems=(STORE,),
    ),
    Operation(
        name="rotate_key",
        method="POST",
        path="/v1/keys",
        tag=Tag.IDENTITIES,
        summary="Sign tokens with a new key from now on",
        description="The old key stays published for a while.",
        handler=rotate_key,
        answers={OK: Content(KeyPage, _KEYS)},
        problems=(STORE,),
    ),
    Operation(
        name="get_endpoints",
        method="GET",
        path="/v1/vms/{name}/endpoints",
        tag=Tag.IDENTITIES,
        summary="Return the variables of a VM's clients for each token route",
        description="The answer holds the secret of the VM.",
        handler=get_endpoints,
        answers={OK: Content(VmEndpoints, _ENDPOINTS)},
        problems=(BAD, NONE, STORE),
        parameter=VM_NAME,
        queries=(_URL,),
    ),
)
