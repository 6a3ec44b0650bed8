"""The operations on faults and playbooks."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

import msgspec.json
from msgspec import UNSET, Struct, UnsetType, defstruct, structs
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.input_types import object_type, page_type, parameter_type
from openimds.admin.operation import (
    BAD,
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
    Answer,
    Content,
    Operation,
    PathParameter,
    Tag,
)
from openimds.admin.pages import Page
from openimds.admin.problem import ProblemError, not_found
from openimds.admin.roles import Role
from openimds.admin.selection import (
    MEMBER,
    MOST_SELECTED,
    SELECTION,
    acting_selector,
    selected,
    with_names,
)
from openimds.admin.services import AdminServices
from openimds.admin.token_scope import has_all, scope_of
from openimds.events.log_format import Moment, date_of
from openimds.facts.evidence import Mark
from openimds.facts.fault_parameters import FaultParameter
from openimds.facts.faults import EFFECTS
from openimds.facts.playbooks import PLAYBOOKS, Playbook
from openimds.faults import ActiveFault
from openimds.faults.service import API, FILE
from openimds.parameters import Parameter, camel_case
from openimds.protocol.faults.fault import fault_to_value
from openimds.protocol.faults.input import effect_rows, parameter_of, playbook_rows
from openimds.vm.decode import decode


def _members() -> dict[str, Parameter]:
    """Return the members of all faults; one of several effects has the choices of each."""
    members: dict[str, Parameter] = {}
    for key in EFFECTS:
        for row in effect_rows(key):
            member, known = parameter_of(row), members.get(row.name)
            if known and known.choices and member.choices:
                both = dict.fromkeys([*known.choices, *member.choices])
                member = structs.replace(member, choices=tuple(both))
            members[row.name] = member
    return members


def _input_rows(rows: tuple[FaultParameter, ...]) -> Iterable[Parameter]:
    """Return the members of a body; `select` stands for the VMs of `vms`."""
    members = [parameter_of(row) for row in rows[1:]]
    return [*members, MEMBER] if any(row.name == "vms" for row in members) else members


_MEMBERS = _members()
FaultView = defstruct(
    "FaultView",
    [
        ("id", str),
        ("origin", Literal[API, FILE]),
        ("begun", Moment),
        ("seen", int),
        ("played", int),
        ("playbook", Literal[tuple(PLAYBOOKS)] | UnsetType, UNSET),
        *((name, parameter_type(row) | UnsetType, UNSET) for name, row in _MEMBERS.items()),
    ],
    rename="camel",
    kw_only=True,
    namespace={
        "__doc__": "An active fault. `seen` counts the requests that matched, `played` those that "
        "it hit; members that are not set are left out."
    },
)
FaultPage = page_type("FaultPage", FaultView)


class ClearedFault(Struct, frozen=True, rename="camel"):
    """A fault that no longer hits some VMs; if `isOver`, none is left to hit."""

    id: str
    vms: tuple[str, ...]
    is_over: bool


class ClearedFaultPage(Page[ClearedFault], frozen=True):
    """All faults that named chosen VMs."""


FaultInput = (
    *(
        object_type(f"Fault_{key}", _input_rows(effect_rows(key)), tag=("effect", key))
        for key in EFFECTS
    ),
    *(
        object_type(f"Playbook_{key}", _input_rows(playbook_rows(key)), tag=("playbook", key))
        for key in PLAYBOOKS
    ),
)


class PlaybookParameter(Struct, frozen=True):
    """A parameter of a playbook: a member of the body of `POST /v1/faults`."""

    name: str
    sort: str
    about: str
    default: str | float | tuple[str, ...] | None


class PlaybookView(Struct, frozen=True):
    """A playbook: faults that belong together, and the evidence for them."""

    playbook: str
    about: str
    why: str
    evidence: Mark
    sources: str
    parameters: list[PlaybookParameter]


class PlaybookPage(Page[PlaybookView], frozen=True):
    """All playbooks."""


async def list_faults(services: AdminServices, request: Request) -> Answer:
    """List the active faults, in the order in which they are tried."""
    faults = await services.faults.counted()
    return _page(fault for fault in faults if _is_shown(services, request, fault))


def _is_shown(services: AdminServices, request: Request, fault: ActiveFault) -> bool:
    """Tell whether a fault hits all VMs, or those of a token alone."""
    return has_all(services.fleet_service, scope_of(request), fault.spec.vms or ())


async def set_faults(services: AdminServices, request: Request) -> Answer:
    """Set a fault, or all faults of a playbook, from now on."""
    value = await with_names(services, request, decode(await body_of(request), "body.json"))
    return _page(await asyncio.shield(services.faults.set(value)))


async def clear_faults(services: AdminServices, request: Request) -> Answer:
    """Clear all faults, or take the chosen VMs out of those that name them."""
    selector = acting_selector(request)
    if selector is None:
        await asyncio.shield(services.faults.clear())
        return None
    names = await selected(services, selector, MOST_SELECTED)
    cleared = await asyncio.shield(services.faults.clear_for(frozenset(names)))
    if not cleared:
        raise not_found(
            "No fault names a VM that the request selects. One without names hits all VMs: clear "
            "it by its id; GET /v1/faults lists all"
        )
    items = [ClearedFault(fault.key, hit, not left) for fault, hit, left in cleared]
    body = msgspec.json.encode(ClearedFaultPage(items, None))
    return Response(body, OK, media_type=JSON)


async def clear_fault(services: AdminServices, request: Request) -> Answer:
    """Clear one fault."""
    key = request.path_params["id"]
    faults = {fault.key: fault for fault in services.faults.running}
    fault, scope = faults.get(key), scope_of(request)
    if fault is None or not _is_shown(services, request, fault):
        raise _no_fault(key)
    if scope and not fault.spec.vms:
        detail = f'The fault {key} hits all VMs; this token is bound to "{scope.text}"'
        raise ProblemError(HTTPStatus.FORBIDDEN, detail)
    await asyncio.shield(services.faults.clear(key))
    return None


def _no_fault(key: str) -> ProblemError:
    return not_found(f'There is no fault "{key}"; GET /v1/faults lists them')


async def list_playbooks(_: AdminServices, __: Request) -> Answer:
    """List the playbooks."""
    return PlaybookPage([_playbook_view(row) for row in PLAYBOOKS.values()], None)


def fault_view(fault: ActiveFault) -> Struct:
    """Return an active fault as the admin API shows it."""
    members: dict[str, Any] = fault_to_value(fault.spec)
    return FaultView(
        id=fault.key,
        origin=fault.origin,
        begun=date_of(fault.begun_s),
        seen=fault.seen,
        played=fault.played,
        **members,
    )


def _page(faults: Iterable[ActiveFault]) -> Struct:
    page: Struct = FaultPage([fault_view(fault) for fault in faults], None)
    return page


def _playbook_view(row: Playbook) -> PlaybookView:
    return PlaybookView(
        row.key,
        row.about,
        row.why,
        row.evidence.mark,
        " ".join(row.evidence.sources),
        [_parameter_view(parameter) for parameter in row.parameters],
    )


def _parameter_view(row: FaultParameter) -> PlaybookParameter:
    return PlaybookParameter(camel_case(row.name), row.kind, row.help, row.default)


_ID = PathParameter("id", "Id of a fault.", "1")
_FAULT = {"effect": "status", "status": 410, "vms": ["web-1"], "untilS": 70}
_VIEW = {
    "id": "1",
    "origin": "api",
    "begun": "2026-11-22T19:54:46.000Z",
    "seen": 0,
    "played": 0,
    **_FAULT,
}
_PAGE = Content(FaultPage, {"items": [_VIEW], "next": None})

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_faults",
        method="GET",
        path="/v1/faults",
        tag=Tag.FAULTS,
        role=Role.READ,
        summary="List the active faults, in the order in which they are tried",
        handler=list_faults,
        answers={OK: _PAGE},
    ),
    Operation(
        name="set_faults",
        method="POST",
        path="/v1/faults",
        tag=Tag.FAULTS,
        role=Role.OPERATE,
        summary="Set a fault, or all faults of a playbook, from now on",
        description="The VMs are `vms`, in which wildcards are allowed, or those that `select` "
        "chooses among them now; without both, all VMs.",
        handler=set_faults,
        answers={CREATED: _PAGE},
        problems=(BAD, LARGE, SLOW, TYPE, UNFIT, STORE),
        takes=Content(FaultInput, _FAULT),
    ),
    Operation(
        name="clear_faults",
        method="DELETE",
        path="/v1/faults",
        tag=Tag.FAULTS,
        role=Role.OPERATE,
        summary="Clear all faults, or those of some VMs",
        description="With `select` or `name` the VMs that they choose are taken out of the faults "
        "that name them, and the answer has these faults. Faults of the fleet file come back when "
        "the file is edited.",
        handler=clear_faults,
        answers={
            GONE: None,
            OK: Content(
                ClearedFaultPage,
                ClearedFaultPage([ClearedFault("1", ("web-1",), is_over=True)], None),
            ),
        },
        problems=(BAD, NONE, STORE),
        queries=SELECTION,
    ),
    Operation(
        name="clear_fault",
        method="DELETE",
        path="/v1/faults/{id}",
        tag=Tag.FAULTS,
        role=Role.OPERATE,
        summary="Clear one fault",
        handler=clear_fault,
        answers={GONE: None},
        problems=(NONE, STORE),
        parameter=_ID,
    ),
    Operation(
        name="list_playbooks",
        method="GET",
        path="/v1/playbooks",
        tag=Tag.FAULTS,
        role=Role.READ,
        summary="List the playbooks with their parameters and evidence",
        handler=list_playbooks,
        answers={
            OK: Content(
                PlaybookPage, lambda: PlaybookPage([_playbook_view(PLAYBOOKS["throttled"])], None)
            )
        },
    ),
)
