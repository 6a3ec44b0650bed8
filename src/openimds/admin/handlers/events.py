"""The operations on scheduled events, on scenarios and on the clock of guests."""

import asyncio
from base64 import b64decode, urlsafe_b64encode
from http import HTTPStatus

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.handlers.vms import who, whole
from openimds.admin.operations import DEFAULT_PAGE, MOST_PER_PAGE
from openimds.admin.problem import ProblemError
from openimds.errors import ConfigError
from openimds.events.clock import CLOCK
from openimds.events.log_format import date_of, line, seconds_of, view
from openimds.events.scenario import Scenario
from openimds.events.service import EventsService
from openimds.facts.events import ANY, Trigger
from openimds.fleet.service import FleetService
from openimds.parameters import describe
from openimds.protocol.events.event import Event
from openimds.protocol.events.input import WISH, EventRequest, MemberKind, members, plans, required
from openimds.protocol.events.state_machine import RefusalReason, TransitionRefusal
from openimds.vm.decode import decode

_MOST_NUMBER = 10**15
_STATUSES = {RefusalReason.UNKNOWN: HTTPStatus.NOT_FOUND, RefusalReason.STATUS: HTTPStatus.CONFLICT}
_SCENARIO = {"name": MemberKind.TEXT, "events": MemberKind.NAMES}
_LONGEST_NAME = 256


class EventHandlers:
    """The handlers that touch events."""

    def __init__(self, events_service: EventsService, fleet_service: FleetService) -> None:
        """Serve the events of an agenda."""
        self._events_service, self._fleet_service = events_service, fleet_service

    async def list_events(self, request: Request) -> Response:
        """List the events that are not gone, oldest declaration first."""
        limit = whole(request, "limit", DEFAULT_PAGE, 1, MOST_PER_PAGE)
        after = _place_in(request.query_params.get("cursor", ""))
        vm = request.query_params.get("vm")
        known = sorted(self._events_service.events(), key=_place)
        found = [
            one for one in known if _place(one) > after and (vm is None or vm in one.concerned)
        ]
        cursor = _cursor(found[limit - 1]) if len(found) > limit else None
        return _json({"items": [view(one) for one in found[:limit]], "next": cursor})

    async def declare_events(self, request: Request) -> Response:
        """Declare what is wished for: one event for each scope that it touches."""
        found = members(decode(await body_of(request), "body.json"), "", WISH)
        work = self._events_service.declare(_wish(found), who(request))
        made = await asyncio.shield(work)
        return _json({"items": [view(one) for one in made], "next": None}, HTTPStatus.CREATED)

    async def get_event(self, request: Request) -> Response:
        """Return an event that is not gone."""
        event_id = request.path_params["id"]
        event = self._events_service.get(event_id)
        if event is None:
            detail = f'There is no event "{event_id}"; it may be over. GET /v1/events lists them'
            raise ProblemError(HTTPStatus.NOT_FOUND, detail)
        return _json(view(event))

    async def start_event(self, request: Request) -> Response:
        """Start an event without waiting for approval or NotBefore."""
        return await self._order(request, Trigger.START)

    async def complete_event(self, request: Request) -> Response:
        """End an event that has started."""
        return await self._order(request, Trigger.COMPLETE)

    async def cancel_event(self, request: Request) -> Response:
        """Take back an event that has not started."""
        return await self._order(request, Trigger.CANCEL)

    async def approve_event(self, request: Request) -> Response:
        """Approve an event in the name of the VMs that it hits."""
        return await self._order(request, Trigger.APPROVED)

    async def _order(self, request: Request, trigger: Trigger) -> Response:
        work = self._events_service.order(trigger, request.path_params["id"], who(request))
        found = await asyncio.shield(work)
        if isinstance(found, TransitionRefusal):
            raise ProblemError(_STATUSES[found.reason], found.text)
        return _json(view(found))

    async def list_event_log(self, request: Request) -> Response:
        """List what happened to events, oldest first."""
        limit = whole(request, "limit", DEFAULT_PAGE, 1, MOST_PER_PAGE)
        since = whole(request, "cursor", 0, 0, _MOST_NUMBER)
        found = await self._fleet_service.call_store(
            self._fleet_service.store.log_entries, since, limit + 1
        )
        after = str(found[limit - 1].number) if len(found) > limit else None
        return _json({"items": [msgspec.Raw(line(one)) for one in found[:limit]], "next": after})


class ScenarioHandlers:
    """The handlers that touch scenarios."""

    def __init__(self, events_service: EventsService) -> None:
        """Serve the scenarios of an agenda."""
        self._events_service = events_service

    async def list_scenarios(self, _: Request) -> Response:
        """List the scenarios that were begun."""
        found = [_scenario(one) for one in self._events_service.book.scenarios.values()]
        return _json({"items": found, "next": None})

    async def begin_scenario(self, request: Request) -> Response:
        """Begin a scenario now; one of the same name ends."""
        value = decode(await body_of(request), "body.json")
        said = value if isinstance(value, dict) else {"events": value}
        rest = {key: one for key, one in said.items() if key != "events"}
        name = str(members(rest, "", _SCENARIO).get("name", "api"))
        if not 0 < len(name) <= _LONGEST_NAME or "/" in name or not name.isprintable():
            raise ConfigError("name", describe(name), "a short printable string without /")
        lines = plans(said.get("events"))
        if not lines:
            raise ConfigError("events", "none", "a list of one or more events")
        await asyncio.shield(self._events_service.begin(name, lines))
        return _json(_scenario(self._events_service.book.scenarios[name]), HTTPStatus.CREATED)

    async def end_scenario(self, request: Request) -> Response:
        """End a scenario; the events that it brought stay."""
        name = request.path_params["name"]
        if not await asyncio.shield(self._events_service.end(name)):
            raise ProblemError(HTTPStatus.NOT_FOUND, f'There is no scenario "{name}"')
        return Response(status_code=HTTPStatus.NO_CONTENT)


class ClockHandlers:
    """The handlers that touch the clock of guests."""

    def __init__(self, events_service: EventsService) -> None:
        """Serve the clock of an agenda."""
        self._events_service, self._clock = events_service, events_service.clock

    async def get_clock(self, _: Request) -> Response:
        """Return what guests take the time to be."""
        return self._shown()

    async def set_clock(self, request: Request) -> Response:
        """Set the clock of guests, put it forward, hurry it or stop it."""
        said = members(decode(await body_of(request), "body.json"), "", CLOCK)
        now = said.pop("now", None)
        # The sorts were checked member by member.
        numbers = {name: float(one) for name, one in said.items()}  # type: ignore[arg-type]
        now_s = seconds_of(now, "now") if isinstance(now, str) else None
        if not self._clock.is_virtual:
            detail = "This server runs with the clock of the wall; start it with --virtual-clock"
            raise ProblemError(HTTPStatus.CONFLICT, detail)
        state = self._clock.planned(now_s=now_s, **numbers)
        await asyncio.shield(self._events_service.set_clock(state))
        return self._shown()

    def _shown(self) -> Response:
        return _json(
            {
                "now": date_of(self._clock()),
                "offset_s": round(self._clock.offset_s, 3),
                "rate": self._clock.rate,
                "virtual": self._clock.is_virtual,
            }
        )


def _wish(found: dict[str, object]) -> EventRequest:
    required(found, "")
    renamed = {"type": "event_type", "in_s": "notice_s", "failure": "is_failure"}
    said = {renamed.get(name, name): one for name, one in found.items() if name != "not_before"}
    if "not_before" in found:
        said["not_before_s"] = seconds_of(str(found["not_before"]), "not_before")
    # The sorts were checked member by member.
    return EventRequest(**{"needs": ANY, **said})  # type: ignore[arg-type]


def _scenario(one: Scenario) -> dict[str, object]:
    lines = [
        {
            "type": run.plan.event_type,
            "vms": run.plan.vms,
            "next": None if run.next_s is None else date_of(run.next_s),
        }
        for run in one.runs
    ]
    return {"name": one.name, "begun": date_of(one.begun_s), "events": lines}


_START = (float("-inf"), "")


def _place(event: Event) -> tuple[float, str]:
    return event.created_s, event.event_id


def _cursor(event: Event) -> str:
    return urlsafe_b64encode(msgspec.json.encode(_place(event))).decode()


def _place_in(cursor: str) -> tuple[float, str]:
    if not cursor:
        return _START
    try:
        text = b64decode(cursor.encode("ascii"), b"-_", validate=True)
        return msgspec.json.decode(text, type=tuple[float, str])
    except ValueError:
        detail = f'cursor: saw "{cursor}", expected the "next" of the page before'
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
