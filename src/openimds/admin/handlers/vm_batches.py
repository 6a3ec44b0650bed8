"""The operation on many VMs: a merge patch of the fleet, made as a whole."""

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec.json
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.guarded_members import check_may_remove, check_unguarded
from openimds.admin.handlers.vms import MERGE_PATCH, checked_members
from openimds.admin.operation import (
    BAD,
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
    Tag,
)
from openimds.admin.problem import ProblemError
from openimds.admin.roles import Role, caller, is_admin
from openimds.admin.selection import SELECTION, acting_selector, selected
from openimds.admin.services import AdminServices
from openimds.errors import ConfigError
from openimds.fleet.edits import Edit
from openimds.vm.decode import decode

MOST_VMS = 1000
"""The most VMs in one batch: other changes wait for it, about 0.2 s for so many."""
_MOST_SHOWN = 40


class EditedVm(Struct, frozen=True):
    """A VM of a batch: `revision` is null where there is none now."""

    name: str
    revision: int | None
    existed: bool


class EditedVms(Struct, frozen=True):
    """The VMs of a batch in its order, and the newest revision of the fleet."""

    items: list[EditedVm]
    revision: int


async def patch_vms(services: AdminServices, request: Request) -> Answer:
    """Make, change and remove VMs together."""
    edits: list[Edit] = []
    body, selector = await body_of(request), acting_selector(request)
    if selector is None:
        patches = _patches(body)
    else:
        patches = dict.fromkeys(
            await selected(services, selector, MOST_VMS), decode(body, "body.json")
        )
    for name, patch in patches.items():
        if patch is None:
            check_may_remove(request, name)
            edits.append(Edit(name))
            continue
        if not isinstance(patch, dict):
            seen = msgspec.json.encode(patch).decode()[:_MOST_SHOWN]
            raise ConfigError(f"body.{name}", seen, "members of a VM, or null to remove it")
        try:
            members = checked_members(patch, name)
            if not is_admin(request):
                check_unguarded(members)
        except ProblemError as error:
            # Alone such a VM has its name in the path.
            problem = error.problem
            raise ProblemError(HTTPStatus(problem.status), f"{name}: {problem.detail}") from None
        # A chosen VM that was removed meanwhile stays so.
        edits.append(Edit(name, patch=members, makes=selector is None))
    service = services.fleet_service
    made = await asyncio.shield(service.edit(edits, caller(request)))
    items = [
        EditedVm(edit.name, edited.stored.revision if edited.stored else None, edited.was_there)
        for edit, edited in zip(edits, made, strict=True)
    ]
    return Response(msgspec.json.encode(EditedVms(items, service.revision)), OK, media_type=JSON)


def _patches(body: bytes) -> dict[str, Any]:
    """Return the patches of a body by name.

    Raises:
        ConfigError: it is no object, or has too many VMs.
    """
    patches = decode(body, "body.json")
    if not isinstance(patches, dict):
        raise ConfigError("body", "no JSON object", "VMs by name")
    if len(patches) > MOST_VMS:
        hint = "Send several requests"
        raise ConfigError("body", f"{len(patches)} VMs", f"at most {MOST_VMS}", hint)
    return patches


_EXAMPLE = {"web-1": {"compute": {"tags": {"env": "prod"}}}, "web-2": None}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="patch_vms",
        method="PATCH",
        path="/v1/vms",
        tag=Tag.VMS,
        role=Role.OPERATE,
        summary="Make, change and remove VMs together, by a merge patch of the fleet",
        description="Members of the body are VMs by name, as in a fleet file: one merges into the "
        "VM of its name, or makes it; null removes it, which needs the role `admin`. All of them "
        f"happen together or none; a body has at most {MOST_VMS:,} VMs. With `select` or `name` "
        "the body is one patch, for each VM that they choose at that time.",
        handler=patch_vms,
        answers={
            OK: Content(
                EditedVms,
                {
                    "items": [
                        {"name": "web-1", "revision": 7, "existed": True},
                        {"name": "web-2", "revision": None, "existed": True},
                    ],
                    "revision": 8,
                },
            )
        },
        problems=(BAD, NONE, LARGE, SLOW, TYPE, UNFIT, STORE),
        queries=SELECTION,
        takes=Content(dict[str, Any], _EXAMPLE, (MERGE_PATCH, JSON)),
    ),
)
