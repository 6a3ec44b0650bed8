"""The operations on VMs: read the request, call the fleet service, answer."""

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec.json
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.guarded_members import (
    REDACTED,
    REDACTED_HEADER,
    check_unguarded,
    redacted,
    replaceable_revision,
    without_secrets,
)
from openimds.admin.operation import (
    BAD,
    CHANGED,
    CREATED,
    GONE,
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
    QueryParameter,
    Tag,
)
from openimds.admin.problem import ProblemError, bad_query, no_vm
from openimds.admin.roles import Role, caller, is_admin
from openimds.admin.services import AdminServices
from openimds.admin.token_scope import check_stays
from openimds.admin.vm_types import READ_ONLY, VmInput, VmView
from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import StoredVm
from openimds.fleet.stored_bodies import decode_vm
from openimds.fleet.vm_entry import VmEntry
from openimds.parameters import Parameter
from openimds.protocol.dialect import catalog_of
from openimds.protocol.handle import instance_document
from openimds.vm.decode import decode
from openimds.vm.fleet_file import parse_vm
from openimds.vm.names import check_new_parts, has_old_parts
from openimds.vm.serialize import encode_vm

MERGE_PATCH = "application/merge-patch+json"
_LONGEST_REVISION = 18
_VERSION = QueryParameter(
    Parameter("api-version", str, "A general api-version; the newest if left out."), NEWEST
)


async def get_vm(services: AdminServices, request: Request) -> Answer:
    """Return a VM, or 304 if the caller has its revision."""
    stored = await _stored(services.fleet_service, request.path_params["name"])
    tags = request.headers.get("if-none-match", "")
    if _etag(stored) in _list(tags) or tags.strip() == "*":
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": _etag(stored)})
    return _vm_response(stored, services.fleet_service, request)


async def put_vm(services: AdminServices, request: Request) -> Answer:
    """Make or replace a VM."""
    fleet_service, name = services.fleet_service, request.path_params["name"]
    members = _members(await body_of(request), name)
    expected = _expected_revision(request)
    if request.headers.get("if-match", "").strip() == "*":
        expected = (await _matched(fleet_service, name)).revision
    if not is_admin(request):
        check_unguarded(members)
        expected = await replaceable_revision(fleet_service, name, expected)
    vm = parse_vm(name, members, is_stored=True)
    entry: VmEntry[Any] | None = fleet_service.fleet_index.by_name.get(name)
    is_old = entry is not None and has_old_parts(name, vm.identities.user)
    check_new_parts(vm, entry.vm if entry and is_old else None)
    work = fleet_service.put(vm, caller(request), expected)
    stored, is_new = await asyncio.shield(work)
    return _vm_response(stored, fleet_service, request, CREATED if is_new else OK)


async def patch_vm(services: AdminServices, request: Request) -> Answer:
    """Change a VM by a merge patch."""
    name = request.path_params["name"]
    patch = _members(await body_of(request), name)
    if not is_admin(request):
        check_unguarded(patch)
    check_stays(request, patch)
    expected = _expected_revision(request)
    work = services.fleet_service.patch(name, patch, caller(request), expected)
    stored = await asyncio.shield(work)
    if stored is None:
        raise no_vm(name)
    return _vm_response(stored, services.fleet_service, request)


async def delete_vm(services: AdminServices, request: Request) -> Answer:
    """Remove a VM."""
    stored = await _stored(services.fleet_service, request.path_params["name"])
    expected = _expected_revision(request)
    work = services.fleet_service.remove(stored.name, caller(request), expected)
    if not await asyncio.shield(work):
        raise no_vm(stored.name)
    return None


async def get_document(services: AdminServices, request: Request) -> Answer:
    """Return the instance document of a VM at an api-version."""
    name, index = request.path_params["name"], services.fleet_service.fleet_index
    entry: VmEntry[Any] | None = index.by_name.get(name)
    if entry is None:
        raise no_vm(name, index.reason_of(name))
    vm = entry.vm
    served = catalog_of(vm, index.catalog)
    version = _VERSION.read(request) or served.general[-1]
    if version not in served.known:
        expected = f"a general api-version such as {', '.join(served.newest_first)}"
        raise bad_query(ConfigError("api-version", f'"{version}"', expected))
    document = instance_document(vm, version)
    if is_admin(request):
        return Response(document, media_type=JSON)
    left, hidden = without_secrets(msgspec.json.decode(document))
    headers = {REDACTED_HEADER: ", ".join(hidden)} if hidden else None
    return Response(msgspec.json.encode(left), headers=headers, media_type=JSON)


async def _matched(fleet_service: FleetService, name: str) -> StoredVm:
    """Return the VM that `If-Match: *` requires.

    Raises:
        ProblemError: 412, it does not exist.
    """
    stored = await fleet_service.call_store(fleet_service.store.get, name)
    if stored is None:
        raise ProblemError(HTTPStatus.PRECONDITION_FAILED, f'There is no VM "{name}" to match')
    return stored


async def _stored(fleet_service: FleetService, name: str) -> StoredVm:
    stored = await fleet_service.call_store(fleet_service.store.get, name)
    if stored is None:
        raise no_vm(name)
    return stored


class _VmHead(Struct):
    """The members that stand before those of the fleet file."""

    name: str
    revision: int
    origin: str
    quarantined: str | UnsetType = UNSET


def vm_body(stored: StoredVm, fleet_service: FleetService, *, is_whole: bool) -> bytes:
    """Return a stored VM as JSON; unless it `is_whole`, without secret members."""
    reason = fleet_service.fleet_index.reason_of(stored.name)
    head = msgspec.json.encode(
        _VmHead(stored.name, stored.revision, stored.origin, reason or UNSET)
    )
    rest = _members_or_none(stored) if reason else stored.body[1:]
    if not is_whole:
        rest = msgspec.json.encode(redacted(msgspec.json.decode(b"{" + rest)))[1:]
    return head[:-1] + (b"" if rest == b"}" else b",") + rest


def _members_or_none(stored: StoredVm) -> bytes:
    """Return the members of a body with the last brace; none of a damaged one."""
    try:
        members = decode_vm(stored)
    except ConfigError:
        return b"}"
    return encode_vm(members)[1:]


def _vm_response(
    stored: StoredVm, fleet_service: FleetService, request: Request, status: HTTPStatus = OK
) -> Response:
    body = vm_body(stored, fleet_service, is_whole=is_admin(request))
    return Response(body, status, {"ETag": _etag(stored)}, JSON)


def _members(body: bytes, name: str) -> dict[str, object]:
    """Return the object in a body, as `checked_members` does."""
    return checked_members(decode(body, "body.json"), name)


def checked_members(members: object, name: str) -> dict[str, object]:
    """Return an object of the body without the members that are read-only.

    Raises:
        ProblemError: it is no JSON object, has another name, or lacks what a reader did not see.
    """
    if not isinstance(members, dict):
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "The body must be a JSON object")
    if members.get("name", name) != name:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"name: saw {msgspec.json.encode(members['name']).decode()}, expected the name in the "
            "path; compute.name is the name that the document shows",
        )
    if members.get(REDACTED):
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{REDACTED}: this VM was read by a token that does not see these members, which the "
            "body would remove. Read it with a token of the role admin",
        )
    return {key: value for key, value in members.items() if key not in READ_ONLY}


def _expected_revision(request: Request) -> int | None:
    """Return the revision that the request replaces.

    It is 0 if the VM must not exist, and None for any revision.

    Raises:
        ProblemError: 412, a tag that no VM has.
    """
    if request.headers.get("if-none-match", "").strip() == "*":
        return 0
    if "if-match" not in request.headers:
        return None
    tags = _list(request.headers["if-match"])
    if tags == ["*"]:
        return None
    text = tags[0].strip('"') if len(tags) == 1 else ""
    is_revision = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_REVISION
    if not is_revision or int(text) == 0:
        raise ProblemError(
            HTTPStatus.PRECONDITION_FAILED, "If-Match: expected the one ETag that the VM has"
        )
    return int(text)


def _list(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",") if tag.strip()]


def _etag(stored: StoredVm) -> str:
    return f'"{stored.revision}"'


_EXAMPLE = {
    "compute": {"vmSize": "Standard_D2s_v5", "location": "westeurope", "tags": {"env": "prod"}},
    "reach": {"address": ["10.0.0.4"]},
}
EXAMPLE_VIEW = {"name": "web-1", "revision": 1, "origin": "api", **_EXAMPLE}
_VM = Content(VmView, EXAMPLE_VIEW)


def _document() -> object:
    """Return the instance document of the example."""
    return msgspec.json.decode(instance_document(parse_vm("web-1", _EXAMPLE), NEWEST))


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="get_vm",
        method="GET",
        path="/v1/vms/{name}",
        tag=Tag.VMS,
        role=Role.READ,
        summary="Return a VM",
        description="The body is that of a VM in a fleet file, with name, revision and origin. "
        "Below the role `admin`, `redacted` names the members that are left out: secrets, "
        "identities, reach.",
        handler=get_vm,
        answers={OK: _VM, HTTPStatus.NOT_MODIFIED: None},
        problems=(NONE, STORE),
        parameter=VM_NAME,
        headers=("If-None-Match",),
    ),
    Operation(
        name="put_vm",
        method="PUT",
        path="/v1/vms/{name}",
        tag=Tag.VMS,
        role=Role.OPERATE,
        summary="Make or replace a VM",
        description="The body is that of a VM in a fleet file. `If-None-Match: *` makes a VM only "
        "if there is none; `If-Match` replaces a revision alone.",
        handler=put_vm,
        answers={OK: _VM, CREATED: _VM},
        problems=(BAD, CHANGED, LARGE, SLOW, TYPE, UNFIT, STORE),
        parameter=VM_NAME,
        headers=("If-Match", "If-None-Match"),
        takes=Content(VmInput, _EXAMPLE),
    ),
    Operation(
        name="patch_vm",
        method="PATCH",
        path="/v1/vms/{name}",
        tag=Tag.VMS,
        role=Role.OPERATE,
        summary="Change a VM by a JSON merge patch (RFC 7396)",
        description="Members in the body replace those of the VM; null removes a member.",
        handler=patch_vm,
        answers={OK: _VM},
        problems=(BAD, NONE, CHANGED, LARGE, SLOW, TYPE, UNFIT, STORE),
        parameter=VM_NAME,
        headers=("If-Match",),
        takes=Content(dict[str, Any], {"compute": {"tags": {"env": "prod"}}}, (MERGE_PATCH, JSON)),
    ),
    Operation(
        name="delete_vm",
        method="DELETE",
        path="/v1/vms/{name}",
        tag=Tag.VMS,
        summary="Remove a VM",
        handler=delete_vm,
        answers={GONE: None},
        problems=(NONE, CHANGED, STORE),
        parameter=VM_NAME,
        headers=("If-Match",),
    ),
    Operation(
        name="get_document",
        method="GET",
        path="/v1/vms/{name}/document",
        tag=Tag.VMS,
        role=Role.READ,
        summary="Return the instance document that the VM itself gets",
        handler=get_document,
        answers={OK: Content(dict[str, Any], _document)},
        problems=(BAD, NONE, STORE),
        parameter=VM_NAME,
        queries=(_VERSION,),
    ),
)
