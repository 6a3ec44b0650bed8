"""The operations on VMs: read what was sent, ask the desk, say how it went."""

import asyncio
from base64 import b64decode, urlsafe_b64encode
from http import HTTPStatus
from typing import Any

import msgspec.json
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.operations import DEFAULT_PAGE, MERGE_PATCH, MOST_PER_PAGE
from openimds.admin.problem import ProblemError
from openimds.fleet.index import VmEntry
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import StoredVm
from openimds.protocol.handle import instance_document
from openimds.vm.decode import decode
from openimds.vm.fleet_file import parse_vm

_READ_ONLY = ("name", "revision", "origin")


class VmHandlers:
    """The handlers that touch VMs."""

    def __init__(self, fleet_service: FleetService) -> None:
        """Serve the VMs of a desk."""
        self._fleet_service = fleet_service

    async def list_vms(self, request: Request) -> Response:
        """List the VMs by pages."""
        limit = whole(request, "limit", DEFAULT_PAGE, 1, MOST_PER_PAGE)
        after = _name_in(request.query_params.get("cursor", ""))
        found = await self._fleet_service.call_store(
            self._fleet_service.store.page, after, limit + 1
        )
        page, more = found[:limit], found[limit:]
        cursor = urlsafe_b64encode(page[-1].name.encode()).decode() if more else None
        # The bodies are JSON already: a page is put together, not worked out.
        items = b",".join(map(_whole_body, page))
        body = b'{"items":[' + items + b'],"next":' + msgspec.json.encode(cursor) + b"}"
        return _json(body)

    async def get_vm(self, request: Request) -> Response:
        """Return a VM, or 304 when the caller has it."""
        stored = await self._stored(request)
        tags = request.headers.get("if-none-match", "")
        if _etag(stored) in _list(tags) or tags.strip() == "*":
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(stored))
        return _json(_whole_body(stored), _headers(stored))

    async def put_vm(self, request: Request) -> Response:
        """Make or replace a VM."""
        name = request.path_params["name"]
        _media(request, "application/json")
        said = _said(await body_of(request), name)
        expected = _expected(request)
        if request.headers.get("if-match", "").strip() == "*":
            expected = (await self._held(name)).revision
        stored, is_new = await self._put(request, name, said, expected)
        status = HTTPStatus.CREATED if is_new else HTTPStatus.OK
        return _json(_whole_body(stored), _headers(stored), status)

    async def patch_vm(self, request: Request) -> Response:
        """Change a VM by a merge patch."""
        name = request.path_params["name"]
        _media(request, MERGE_PATCH, "application/json")
        patch = _said(await body_of(request), name)
        work = self._fleet_service.patch(name, patch, who(request), _expected(request))
        stored = await asyncio.shield(work)
        if stored is None:
            raise no_vm(name)
        return _json(_whole_body(stored), _headers(stored))

    async def delete_vm(self, request: Request) -> Response:
        """Remove a VM."""
        stored = await self._stored(request)
        expected = _expected(request)
        work = self._fleet_service.remove(stored.name, who(request), expected)
        if not await asyncio.shield(work):
            raise no_vm(stored.name)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def get_document(self, request: Request) -> Response:
        """Return the instance document of a VM at an api-version."""
        name = request.path_params["name"]
        entry: VmEntry[Any] | None = self._fleet_service.fleet_index.by_name.get(name)
        if entry is None:
            raise no_vm(name)
        catalog = self._fleet_service.fleet_index.catalog
        version = request.query_params.get("api-version", catalog.general[-1])
        if version not in catalog.known:
            newest = ", ".join(catalog.newest_first)
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                f'api-version: saw "{version}", expected a general api-version such as {newest}',
            )
        return _json(instance_document(entry.vm, version))

    async def _put(
        self, request: Request, name: str, said: object, expected: int | None
    ) -> tuple[StoredVm, bool]:
        work = self._fleet_service.put(parse_vm(name, said), who(request), expected)
        return await asyncio.shield(work)

    async def _held(self, name: str) -> StoredVm:
        """Return the VM that If-Match: * wants to be there.

        Raises:
            ProblemError: 412, there is none.
        """
        stored = await self._fleet_service.call_store(self._fleet_service.store.get, name)
        if stored is None:
            raise ProblemError(HTTPStatus.PRECONDITION_FAILED, f'There is no VM "{name}" to match')
        return stored

    async def _stored(self, request: Request) -> StoredVm:
        name = request.path_params["name"]
        stored = await self._fleet_service.call_store(self._fleet_service.store.get, name)
        if stored is None:
            raise no_vm(name)
        return stored


class _Whole(Struct):
    """The members that stand before what was said."""

    name: str
    revision: int
    origin: str


def _whole_body(stored: StoredVm) -> bytes:
    head = msgspec.json.encode(_Whole(stored.name, stored.revision, stored.origin))
    rest = stored.body[1:]
    return head[:-1] + (b"" if rest == b"}" else b",") + rest


def who(request: Request) -> str:
    """Return who asks, for the audit log."""
    return f"api {request.client.host if request.client else 'socket'}"


def whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number of the query.

    Raises:
        ProblemError: 400, it is none, or out of its bounds.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = len(str(most))
    if text.isascii() and text.isdecimal() and len(text) <= digits and least <= int(text) <= most:
        return int(text)
    detail = f'{name}: saw "{text}", expected a whole number from {least} to {most}'
    raise ProblemError(HTTPStatus.BAD_REQUEST, detail)


def _name_in(cursor: str) -> str:
    try:
        return b64decode(cursor.encode("ascii"), b"-_", validate=True).decode()
    except ValueError:
        detail = f'cursor: saw "{cursor}", expected the "next" of the page before'
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None


def _said(body: bytes, name: str) -> dict[str, object]:
    """Return the object in a body without the members that are only read.

    Raises:
        ConfigError, ProblemError: no JSON object, or one of another name.
    """
    said = decode(body, "body.json")
    if not isinstance(said, dict):
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "The body must be a JSON object")
    if said.get("name", name) != name:
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"name: saw {msgspec.json.encode(said['name']).decode()}, expected the name in the "
            "path; compute.name is the name that the document shows",
        )
    return {key: value for key, value in said.items() if key not in _READ_ONLY}


def _media(request: Request, *known: str) -> None:
    media = request.headers.get("content-type", known[0]).partition(";")[0].strip().lower()
    if media not in known:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f'Content-Type: saw "{media}", expected {" or ".join(known)}',
        )


def _expected(request: Request) -> int | None:
    """Return the revision that the caller means to replace; 0: there must be none.

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


_LONGEST_REVISION = 18


def _list(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",") if tag.strip()]


def _etag(stored: StoredVm) -> str:
    return f'"{stored.revision}"'


def _headers(stored: StoredVm) -> dict[str, str]:
    return {"ETag": _etag(stored)}


def _json(
    body: bytes, headers: dict[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    return Response(body, status, headers, "application/json")


def no_vm(name: str) -> ProblemError:
    """Return the problem of a name that no VM has."""
    return ProblemError(HTTPStatus.NOT_FOUND, f'There is no VM "{name}"; GET /v1/vms lists them')
