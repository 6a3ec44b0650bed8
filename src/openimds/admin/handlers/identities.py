"""The operations on managed identities, and on the keys that sign their tokens."""

import asyncio
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Protocol, TypeAlias

import msgspec.json
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.handlers.vms import no_vm, whole
from openimds.admin.operations import DEFAULT_PAGE, MOST_PER_PAGE
from openimds.admin.problem import ProblemError
from openimds.fleet.service import FleetService, decode_vm
from openimds.fleet.store.port import StoredVm
from openimds.vm.identities import FORGE, principals, user_ids
from openimds.vm.types import Vm

_SLICE = 500
"""How many VMs the store is asked for at once."""


class IdentityRow(Struct, frozen=True, rename="camel", kw_only=True):
    """One identity. `forged` says plainly that its tokens are bad ones, on request."""

    vm: str
    kind: str
    resource_id: str | UnsetType = UNSET
    client_id: str
    principal_id: str
    tenant_id: str
    source: str
    forged: bool


class _Cursor(Struct, frozen=True, array_like=True):
    """After which identity a page begins: how many of a VM's were on the pages before."""

    vm: str
    count: Annotated[int, Meta(ge=0)]


class KeyTimes(Protocol):
    """What everybody may know of a key; times in seconds since 1970."""

    @property
    def kid(self) -> str:
        """Its name in the header of a token."""
        ...

    @property
    def began_s(self) -> float:
        """Since when it signs."""
        ...

    @property
    def retired_s(self) -> float | None:
        """Until when it signed; None: it still does."""
        ...

    @property
    def until_s(self) -> float | None:
        """Until when it is published; None: nobody knows yet."""
        ...


class SigningKeys(Protocol):
    """The keys of tokens. It may take a while: it is called in threads."""

    def key_infos(self, now_s: float) -> tuple[KeyTimes, ...]:
        """Return those that are published, newest first."""
        ...

    def rotate(self, now_s: float) -> None:
        """Sign with a new one from now on."""
        ...


class IdentityHandlers:
    """The handlers that show identities and turn their keys."""

    def __init__(self, fleet_service: FleetService, keys: SigningKeys) -> None:
        """Show the identities of a desk's VMs."""
        self._fleet_service, self._keys = fleet_service, keys

    async def list_identities(self, request: Request) -> Response:
        """List the identities of all VMs by pages."""
        limit = whole(request, "limit", DEFAULT_PAGE, 1, MOST_PER_PAGE)
        cursor = _read(request.query_params.get("cursor", ""))
        found = await self._begun(cursor)
        after = cursor.vm
        while len(found) <= limit:
            page = await self._fleet_service.call_store(
                self._fleet_service.store.page, after, _SLICE
            )
            if not page:
                break
            after = page[-1].name
            found += await asyncio.to_thread(_rows_of_all, page)
            # One more than wanted tells that there is another page.
        shown = found[:limit]
        if len(found) <= limit:
            return _page(shown)
        last = shown[-1].vm
        count = sum(row.vm == last for row in shown)
        before = cursor.count if last == cursor.vm else 0
        return _page(shown, _write(_Cursor(last, before + count)))

    async def _begun(self, cursor: _Cursor) -> list[IdentityRow]:
        """Return the rest of the VM in whose midst the page before ended."""
        if not cursor.count:
            return []
        stored = await self._fleet_service.call_store(self._fleet_service.store.get, cursor.vm)
        return rows(stored)[cursor.count :] if stored else []

    async def list_vm_identities(self, request: Request) -> Response:
        """List the identities of one VM."""
        name = request.path_params["name"]
        stored = await self._fleet_service.call_store(self._fleet_service.store.get, name)
        if stored is None:
            raise no_vm(name)
        return _page(rows(stored))

    async def list_keys(self, _: Request) -> Response:
        """List the keys of tokens, the one that signs first."""
        return _page(await asyncio.to_thread(self._lives))

    async def rotate_key(self, _: Request) -> Response:
        """Sign tokens with a new key from now on."""
        # Begun is done: a caller who goes away does not stop a key half-way.
        await asyncio.shield(asyncio.to_thread(self._keys.rotate, self._fleet_service.utc()))
        return _page(await asyncio.to_thread(self._lives))

    def _lives(self) -> list[dict[str, object]]:
        return [_shown(one) for one in self._keys.key_infos(self._fleet_service.utc())]


def rows(stored: StoredVm) -> list[IdentityRow]:
    """Return the identities of a VM, the system-assigned one first."""
    vm = decode_vm(stored)
    if not vm.identities.system and not vm.identities.user:
        return []
    said = iter(user_ids(vm))
    return [
        IdentityRow(
            vm=vm.name,
            kind="system" if one.is_system else "user",
            # As it was said: claims write a part of it in lower case.
            resource_id=UNSET if one.is_system else next(said),
            client_id=one.client_id,
            principal_id=one.object_id,
            tenant_id=one.tenant_id,
            source=one.source,
            forged=one.source.startswith(FORGE),
        )
        for one in principals(vm)
    ]


def _rows_of_all(page: list[StoredVm]) -> list[IdentityRow]:
    return [row for stored in _likely(page) for row in rows(stored)]


def _likely(page: list[StoredVm]) -> Iterator[StoredVm]:
    """Yield the VMs that may have an identity; to read all the others would take long."""
    return (stored for stored in page if b'"identities"' in stored.body)


def _shown(one: KeyTimes) -> dict[str, object]:
    times = {"began": one.began_s, "retired": one.retired_s, "publishedUntil": one.until_s}
    return {"kid": one.kid, **{name: _time(at_s) for name, at_s in times.items()}}


def _time(at_s: float | None) -> str | None:
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


def _read(text: str) -> _Cursor:
    if not text:
        return _Cursor("", 0)
    try:
        said = b64decode(text.encode("ascii"), b"-_", validate=True)
        return msgspec.json.decode(said, type=_Cursor)
    except ValueError:
        detail = f'cursor: saw "{text}", expected the "next" of the page before'
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None


def _write(cursor: _Cursor) -> str:
    return urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def _page(items: object, after: str | None = None) -> Response:
    body = msgspec.json.encode({"items": items, "next": after})
    return Response(body, media_type="application/json")


EndpointVariables: TypeAlias = Callable[[Vm], dict[str, dict[str, str]]]
"""Gives the variables of each way that a VM's clients can go; none where no URL leads to it."""


class EndpointHandlers:
    """The handler that hands out the secret of a VM: to whoever has the token of the admin API."""

    def __init__(self, fleet_service: FleetService, ways_of: EndpointVariables) -> None:
        """Serve the VMs of a desk."""
        self._fleet_service, self._ways_of = fleet_service, ways_of

    async def get_endpoints(self, request: Request) -> Response:
        """Return the variables that make clients of a VM take each way to a token."""
        name = request.path_params["name"]
        stored = await self._fleet_service.call_store(self._fleet_service.store.get, name)
        if stored is None:
            raise no_vm(name)
        said = {"vm": name, "variables": self._ways_of(decode_vm(stored))}
        # It holds a secret: nobody in between shall keep it.
        headers = {"Cache-Control": "no-store"}
        return Response(msgspec.json.encode(said), headers=headers, media_type="application/json")
