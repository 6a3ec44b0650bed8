"""The list of VMs: filtered, sorted, and with the wanted members.

Without a query a page is joined from the stored bodies. With a selector or another order the names
come from the fleet's index, and the bodies of one page from the store.
"""

import asyncio
from functools import partial
from typing import Any

import msgspec.json
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.guarded_members import REDACTED
from openimds.admin.handlers.vms import EXAMPLE_VIEW, vm_body
from openimds.admin.operation import (
    BAD,
    JSON,
    OK,
    STORE,
    Answer,
    Content,
    Operation,
    QueryParameter,
    Tag,
)
from openimds.admin.pages import (
    CURSOR,
    LIMIT,
    MAX_PAGE_BYTES,
    PART,
    decode_cursor,
    encode_cursor,
    fitting,
    read_page,
)
from openimds.admin.problem import bad_query
from openimds.admin.roles import Role, is_admin
from openimds.admin.selection import SELECTION, query_selector
from openimds.admin.services import AdminServices
from openimds.admin.vm_types import READ_ONLY, VmPage
from openimds.errors import ConfigError
from openimds.facts.document import FIELDS
from openimds.facts.fields import FieldKind
from openimds.facts.redaction import SECRET_MEMBERS
from openimds.fleet.selection import choose
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import StoredVm
from openimds.parameters import Parameter, nearest
from openimds.vm.defaults import text_at
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Group, Node
from openimds.vm.selector import KEYS, NAME, TAG, Selector
from openimds.vm.types import Vm

_TEXTS = frozenset(
    row.path for row in FIELDS if row.kind is FieldKind.TEXT and "[]" not in row.path
)
"""The paths of texts that each VM has, written or by default."""
_ORDERS = {row.key: row for row in KEYS if row.key != TAG}
_SORT = QueryParameter(
    Parameter(
        "sort",
        str,
        "The order: by this value of each VM, then by name; with - in front, backwards.",
        NAME,
        choices=(*_ORDERS, *(f"-{key}" for key in _ORDERS)),
    ),
    "location",
)
_FIELDS = QueryParameter(
    Parameter(
        "fields",
        str,
        "Only these members, by commas, beside name, revision and origin. A text of `compute` that "
        "a VM does not set is the one that its guests see.",
    ),
    "compute.vmSize,compute.tags",
)


class _Place(Struct, frozen=True, array_like=True):
    """A place in a list that is sorted by a value of each VM."""

    order: str
    value: str
    name: str


_BEGINNING = _Place("", "", "")


async def list_vms(services: AdminServices, request: Request) -> Answer:
    """List the VMs by pages."""
    limit, fields = LIMIT.read(request), _paths(_FIELDS.read(request))
    order, selector = _SORT.read(request), query_selector(request)
    service = services.fleet_service
    revision = service.revision  # Before the page: a follower of it misses no change.
    if order != NAME:
        page, cursor = await _sorted_page(service, request, selector or Selector(), order, limit)
    elif selector:
        after = decode_cursor(request, str, "")
        page, cursor = await _chosen_page(service, selector, after, limit)
    else:
        after = decode_cursor(request, str, "")
        read = partial(read_page, service.store.page, place=_name_of, size=_size_of)
        stored: list[StoredVm] = await service.call_store(read, after, limit)
        page = stored[: min(limit, fitting(map(_size_of, stored)))]
        cursor = encode_cursor(page[-1].name) if len(stored) > len(page) else None
    items = b",".join(await _bodies(service, page, fields, is_whole=is_admin(request)))
    rest = b'"next":%b,"revision":%d' % (msgspec.json.encode(cursor), revision)
    return Response(b'{"items":[' + items + b"]," + rest + b"}", media_type=JSON)


async def _chosen_page(
    service: FleetService, selector: Selector, after: str, limit: int
) -> tuple[list[StoredVm], str | None]:
    """Return the chosen VMs after a name, and the cursor of the next page."""
    names: list[str] = []
    async for part in choose(service, selector, after):
        names += [one.name for one in part]
        if len(names) > limit:
            break
    page, count = await _stored(service, names[:limit])
    return page, encode_cursor(names[count - 1]) if len(names) > count else None


async def _sorted_page(
    service: FleetService, request: Request, selector: Selector, order: str, limit: int
) -> tuple[list[StoredVm], str | None]:
    """Return the chosen VMs in another order, and the cursor of the next page."""
    start = decode_cursor(request, _Place, _BEGINNING)
    if start.order not in {"", order}:
        error = ConfigError("cursor", f"a cursor of sort={start.order}", f"one of sort={order}")
        raise bad_query(error)
    texts, is_backward = _ORDERS[order.removeprefix("-")].texts, order.startswith("-")
    best: list[tuple[str, str]] = []
    async for part in choose(service, selector):
        places = [(texts(one.vm)[0].lower() if one.vm else "", one.name) for one in part]
        if start is not _BEGINNING:
            bound = (start.value, start.name)
            places = [one for one in places if (one < bound if is_backward else one > bound)]
        best = sorted([*best, *places], reverse=is_backward)[: limit + 1]
    page, count = await _stored(service, [name for _, name in best[:limit]])
    return page, encode_cursor(_Place(order, *best[count - 1])) if len(best) > count else None


async def _stored(service: FleetService, names: list[str]) -> tuple[list[StoredVm], int]:
    """Return the stored VMs of the first names, and how many make the page."""
    page: list[StoredVm] = []
    count = octets = 0
    while count < len(names) and octets <= MAX_PAGE_BYTES:
        part = names[count : count + PART]
        rows = {row.name: row for row in await service.call_store(service.store.get_many, part)}
        for name in part:
            octets += len(rows[name].body) if name in rows else 0
            if page and octets > MAX_PAGE_BYTES:
                return page, count
            page += [rows[name]] if name in rows else []
            count += 1
    return page, count


async def _bodies(
    service: FleetService, page: list[StoredVm], fields: list[str], *, is_whole: bool
) -> list[bytes]:
    """Return the items of a page."""
    # The stored bodies are JSON: whole ones are joined without decoding.
    if not fields:
        return [vm_body(row, service, is_whole=is_whole) for row in page]
    bodies: list[bytes] = []
    for number, row in enumerate(page):
        entry = service.fleet_index.by_name.get(row.name)
        members = msgspec.json.decode(vm_body(row, service, is_whole=is_whole))
        bodies.append(
            msgspec.json.encode(_only(members, entry.vm if entry else None, fields, is_whole))
        )
        if number % PART == 0:
            await asyncio.sleep(0)  # Guests are answered between the slices.
    return bodies


def _only(members: dict[str, Any], vm: Vm | None, fields: list[str], is_whole: bool) -> object:  # noqa: FBT001 - of a private function
    """Return the wanted members of a VM."""
    left = {key: members[key] for key in READ_ONLY if key in members and key != REDACTED}
    hidden = [
        path
        for path in members.get(REDACTED, ())
        if any(f"{path}.".startswith(f"{one}.") or one.startswith(f"{path}.") for one in fields)
    ]
    for path in fields:
        *above, last = path.split(".")
        value: Any = members
        for key in (*above, last):
            value = value.get(key) if isinstance(value, dict) else None
        if value is None and vm and path in _TEXTS and (is_whole or path not in SECRET_MEMBERS):
            value = text_at(vm, path) or None
        if value is None:
            continue
        inner = left
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return {**left, REDACTED: hidden} if hidden else left


def _paths(text: str | None) -> list[str]:
    """Return the paths of the wanted members.

    Raises:
        ProblemError: 400, a VM has no such member.
    """
    paths = [path for part in (text or "").split(",") if (path := part.strip())]
    for path in paths:
        node: Node = vm_tree()
        for depth, key in enumerate(keys := path.split(".")):
            members = node.members if isinstance(node, Group) else {}
            known = [*(READ_ONLY if depth == 0 else ()), *members]
            if key not in known:
                above = ".".join(keys[:depth])
                expected = f"a member of {above or 'a VM'}"
                hint = nearest(key, known).replace('"', f'"{above}.' if above else '"', 1)
                raise bad_query(ConfigError("fields", f'"{path}"', expected, hint))
            if key not in members:
                break
            node = members[key]
    return paths


def _name_of(vm: StoredVm) -> str:
    return vm.name


def _size_of(vm: StoredVm) -> int:
    return len(vm.body)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_vms",
        method="GET",
        path="/v1/vms",
        tag=Tag.VMS,
        role=Role.READ,
        summary="List the VMs, filtered and sorted; by default in the order of their names",
        handler=list_vms,
        answers={OK: Content(VmPage, {"items": [EXAMPLE_VIEW], "next": None, "revision": 1})},
        description="`select` and `name` compare the values that guests see, defaults included. "
        "`GET /v1/changes?since=` with the `revision` of the first page follows the changes after "
        "the list.",
        problems=(BAD, STORE),
        queries=(LIMIT, CURSOR, *SELECTION, _SORT, _FIELDS),
    ),
)
