"""The operations on the rehearsal that walks through the generations of certificates."""

import asyncio

from msgspec import Struct
from starlette.requests import Request

from openimds.admin.auth import body_of
from openimds.admin.input_types import object_type
from openimds.admin.operation import (
    BAD,
    GONE,
    LARGE,
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
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices
from openimds.events.log_format import Moment, date_of
from openimds.facts.generations import STEPS
from openimds.parameters import read_fields
from openimds.protocol.generation_walk import WALK, GenerationWalk, plan
from openimds.vm.decode import decode


class RehearsalStep(Struct, frozen=True, rename="camel", kw_only=True):
    """A step to a generation: its time, its changes for verifiers, reports of broken verifiers.

    A step is `taken` once its first region may have moved; regions move until `overlapEnds`.
    """

    generation: str
    begins: Moment
    overlap_ends: Moment
    taken: bool
    change: str
    reports: tuple[str, ...]


class RehearsalView(Struct, frozen=True, rename="camel", kw_only=True):
    """The rehearsal under way or completed; without one there are no steps."""

    every_s: float
    overlap_s: float
    steps: list[RehearsalStep]


RehearsalInput = object_type("RehearsalInput", WALK)


async def show_rehearsal(services: AdminServices, _: Request) -> Answer:
    """Return the steps of the rehearsal."""
    now_s = services.fleet_service.utc()
    return _view(await asyncio.to_thread(services.credentials.ca.walk, now_s))


async def begin_rehearsal(services: AdminServices, request: Request) -> Answer:
    """Begin a rehearsal in place of an earlier one."""
    now_s, ca = services.fleet_service.utc(), services.credentials.ca
    members = read_fields(WALK, decode(await body_of(request), "body.json"))
    walk = plan(now_s, **members)
    # Shielded: a caller who disconnects does not stop it half-way.
    await asyncio.shield(asyncio.to_thread(ca.rehearse, walk, now_s))
    return _view(walk)


async def end_rehearsal(services: AdminServices, _: Request) -> Answer:
    """End the rehearsal; the certificates stay."""
    now_s = services.fleet_service.utc()
    await asyncio.shield(asyncio.to_thread(services.credentials.ca.end_rehearsal, now_s))
    return None


def _view(walk: GenerationWalk | None) -> RehearsalView:
    if walk is None:
        return RehearsalView(every_s=0, overlap_s=0, steps=[])
    steps = [
        RehearsalStep(
            generation=generation,
            begins=date_of(walk.begins_s(place)),
            overlap_ends=date_of(walk.overlap_ends_s(place)),
            taken=place < walk.done,
            change=STEPS[generation].change,
            reports=STEPS[generation].reports,
        )
        for place, generation in enumerate(walk.generations)
    ]
    return RehearsalView(every_s=walk.every_s, overlap_s=walk.overlap_s, steps=steps)


_EXAMPLE = _view(plan(1_795_377_286.0, 86_400, "2024", "2026"))

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="show_rehearsal",
        method="GET",
        path="/v1/certificates/rehearsal",
        tag=Tag.CERTIFICATES,
        role=Role.READ,
        summary="Show the walk through the generations of certificates",
        handler=show_rehearsal,
        answers={OK: Content(RehearsalView, _EXAMPLE)},
        problems=(STORE,),
    ),
    Operation(
        name="begin_rehearsal",
        method="POST",
        path="/v1/certificates/rehearsal",
        tag=Tag.CERTIFICATES,
        summary="Walk from one generation of certificates to the next",
        description=(
            "Each step replaces the intermediate by the clock of guests; the regions follow one "
            "after the other. Replaced certificates stay published."
        ),
        handler=begin_rehearsal,
        answers={OK: Content(RehearsalView, _EXAMPLE)},
        problems=(BAD, LARGE, SLOW, TYPE, UNFIT, STORE),
        takes=Content(RehearsalInput, {"everyS": 86_400, "first": "2024"}),
    ),
    Operation(
        name="end_rehearsal",
        method="DELETE",
        path="/v1/certificates/rehearsal",
        tag=Tag.CERTIFICATES,
        summary="End the walk; the certificates stay",
        handler=end_rehearsal,
        answers={GONE: None},
        problems=(STORE,),
    ),
)
