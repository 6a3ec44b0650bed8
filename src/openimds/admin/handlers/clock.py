"""The operations on the clock of guests."""

import asyncio
from http import HTTPStatus

from msgspec import Struct
from starlette.requests import Request

from openimds.admin.auth import body_of
from openimds.admin.input_types import object_type
from openimds.admin.operation import (
    BAD,
    CONFLICT,
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
from openimds.admin.problem import ProblemError
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices
from openimds.events.clock import CLOCK, Clock
from openimds.events.log_format import Moment, date_of
from openimds.parameters import read_fields
from openimds.vm.decode import decode


class ClockView(Struct, frozen=True, rename="camel", kw_only=True):
    """The clock of guests: its time, its offset from real time, and its speed."""

    now: Moment
    offset_s: float
    rate: float
    virtual: bool


ClockInput = object_type("ClockInput", CLOCK)


async def get_clock(services: AdminServices, _: Request) -> Answer:
    """Return the clock of guests."""
    return _clock_view(services.events_service.clock)


async def set_clock(services: AdminServices, request: Request) -> Answer:
    """Set the clock of guests, advance it, or change its speed."""
    clock = services.events_service.clock
    change = read_fields(CLOCK, decode(await body_of(request), "body.json"))
    now_s = change.pop("now", None)
    if not clock.is_virtual:
        detail = "This server runs with the real clock; start it with --virtual-clock"
        raise ProblemError(HTTPStatus.CONFLICT, detail)
    state = clock.planned(now_s=now_s, **change)
    await asyncio.shield(services.events_service.set_clock(state))
    return _clock_view(clock)


def _clock_view(clock: Clock) -> ClockView:
    return ClockView(
        now=date_of(clock()),
        offset_s=round(clock.offset_s, 3),
        rate=clock.rate,
        virtual=clock.is_virtual,
    )


_CLOCK_VIEW = ClockView(now="2026-11-22T20:09:46.000Z", offset_s=900.0, rate=1.0, virtual=True)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="get_clock",
        method="GET",
        path="/v1/clock",
        tag=Tag.CLOCK,
        role=Role.READ,
        summary="Return the clock of guests",
        handler=get_clock,
        answers={OK: Content(ClockView, _CLOCK_VIEW)},
    ),
    Operation(
        name="set_clock",
        method="POST",
        path="/v1/clock",
        tag=Tag.CLOCK,
        role=Role.OPERATE,
        summary="Set the clock of guests, advance it, or change its speed",
        description="The server has to run with --virtual-clock; else it answers 409.",
        handler=set_clock,
        answers={OK: Content(ClockView, _CLOCK_VIEW)},
        problems=(BAD, CONFLICT, LARGE, SLOW, TYPE, UNFIT, STORE),
        takes=Content(ClockInput, {"advanceS": 900}),
    ),
)
