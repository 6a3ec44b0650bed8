"""The operations on scenarios: recurring events that begin now."""

import asyncio
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct
from starlette.requests import Request

from openimds.admin.auth import body_of
from openimds.admin.input_types import list_type, object_type
from openimds.admin.operation import (
    BAD,
    CREATED,
    GONE,
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
from openimds.admin.problem import not_found
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices
from openimds.errors import ConfigError
from openimds.events.log_format import Moment, date_of
from openimds.events.scenario import Scenario
from openimds.parameters import MisfitError, Parameter, read_fields
from openimds.protocol.events.schedule import MOST_LINES, SCENARIO, read_lines
from openimds.vm.decode import decode

_LONGEST_NAME = 256


class ScenarioLineView(Struct, frozen=True):
    """A line of a scenario; `next` is its next event's time, null at the end."""

    type: str
    vms: tuple[str, ...]
    next: Moment | None


class ScenarioView(Struct, frozen=True):
    """A scenario that was begun."""

    name: str
    begun: Moment
    events: list[ScenarioLineView]


class ScenarioPage(Page[ScenarioView], frozen=True):
    """All scenarios."""


def _printable_name(name: str) -> str:
    if "/" in name or not name.isprintable():
        raise MisfitError("a printable string without /")
    return name


_SCENARIO_NAME = Parameter(
    "name",
    str,
    "The name of the scenario.",
    "api",
    minimum=1,
    maximum=_LONGEST_NAME,
    convert=_printable_name,
)

ScenarioLineInput = object_type("ScenarioLineInput", SCENARIO)

ScenarioInput = defstruct(
    "ScenarioInput",
    [
        (
            "events",
            Annotated[list_type(ScenarioLineInput), Meta(min_length=1, max_length=MOST_LINES)],
        ),
        ("name", Annotated[str, Meta(max_length=_LONGEST_NAME)] | UnsetType, UNSET),
    ],
    forbid_unknown_fields=True,
)


async def list_scenarios(services: AdminServices, _: Request) -> Answer:
    """List the scenarios that were begun."""
    scenarios = services.events_service.scenarios.scenarios.values()
    return ScenarioPage([_scenario_view(scenario) for scenario in scenarios], None)


async def begin_scenario(services: AdminServices, request: Request) -> Answer:
    """Begin a scenario now; an earlier one of the same name ends."""
    value = decode(await body_of(request), "body.json")
    fields = value if isinstance(value, dict) else {"events": value}
    others = {key: field for key, field in fields.items() if key != "events"}
    name = read_fields([_SCENARIO_NAME], others)["name"]
    lines = read_lines(fields.get("events"))
    if not lines:
        raise ConfigError("events", "none", "a list of one or more events")
    await asyncio.shield(services.events_service.begin(name, lines))
    return _scenario_view(services.events_service.scenarios.scenarios[name])


async def end_scenario(services: AdminServices, request: Request) -> Answer:
    """End a scenario; its events stay."""
    name = request.path_params["name"]
    if not await asyncio.shield(services.events_service.end(name)):
        raise not_found(f'There is no scenario "{name}"; GET /v1/scenarios lists them')
    return None


def _scenario_view(scenario: Scenario) -> ScenarioView:
    runs = [
        ScenarioLineView(
            run.recurring.event_type,
            run.recurring.vms,
            None if run.next_s is None else date_of(run.next_s),
        )
        for run in scenario.runs
    ]
    return ScenarioView(scenario.name, date_of(scenario.begun_s), runs)


_NAME = PathParameter("name", "Name of a scenario.", "soak")
_SCENARIO_VIEW = ScenarioView(
    "soak",
    "2026-11-22T19:54:46.000Z",
    [ScenarioLineView("Freeze", ("web-1",), "2026-11-22T19:54:46.000Z")],
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_scenarios",
        method="GET",
        path="/v1/scenarios",
        tag=Tag.EVENTS,
        role=Role.READ,
        summary="List the scenarios that were begun",
        handler=list_scenarios,
        answers={OK: Content(ScenarioPage, ScenarioPage([_SCENARIO_VIEW], None))},
    ),
    Operation(
        name="begin_scenario",
        method="POST",
        path="/v1/scenarios",
        tag=Tag.EVENTS,
        role=Role.OPERATE,
        summary="Begin a scenario now",
        description="An earlier scenario of the same name ends.",
        handler=begin_scenario,
        answers={CREATED: Content(ScenarioView, _SCENARIO_VIEW)},
        problems=(BAD, LARGE, SLOW, TYPE, UNFIT, STORE),
        takes=Content(
            ScenarioInput,
            {"name": "soak", "events": [{"type": "Freeze", "vms": ["web-1"], "everyS": 3600}]},
        ),
    ),
    Operation(
        name="end_scenario",
        method="DELETE",
        path="/v1/scenarios/{name}",
        tag=Tag.EVENTS,
        role=Role.OPERATE,
        summary="End a scenario; its events stay",
        handler=end_scenario,
        answers={GONE: None},
        problems=(NONE, STORE),
        parameter=_NAME,
    ),
)
