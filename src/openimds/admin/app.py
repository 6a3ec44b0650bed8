"""The admin API as an ASGI application: routes from the rows, one shape of error."""

import asyncio
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Protocol

import msgspec.json
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from openimds.admin import metrics
from openimds.admin.auth import Authenticator, Handler
from openimds.admin.handlers.certificates import CertificateHandlers, CertificateSource
from openimds.admin.handlers.events import ClockHandlers, EventHandlers, ScenarioHandlers
from openimds.admin.handlers.faults import FaultHandlers
from openimds.admin.handlers.identities import (
    EndpointHandlers,
    EndpointVariables,
    IdentityHandlers,
    SigningKeys,
)
from openimds.admin.handlers.requests import LintSummary, RequestHandlers, RequestRecording
from openimds.admin.handlers.vms import VmHandlers, whole
from openimds.admin.openapi import openapi
from openimds.admin.operations import MOST_PER_PAGE, OPERATIONS, Operation
from openimds.admin.problem import ProblemDetails, ProblemError, of_config, response
from openimds.admin.token import AdminToken
from openimds.errors import ConfigError, Error
from openimds.events.log_format import line
from openimds.events.service import EventsService
from openimds.faults import FaultService
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import Change, ConflictError, LogEntry

_MOST_REVISION = 10**15
_PAGE = 100


class CredentialsAdmin(SigningKeys, Protocol):
    """What signs: the keys of tokens, and the certificates of attested documents."""

    @property
    def ca(self) -> CertificateSource:
        """The certificates."""
        ...


def application(  # noqa: PLR0913, PLR0917 - everything behind the admin port
    fleet_service: FleetService,
    token: AdminToken,
    hosts: frozenset[str],
    readings: metrics.MetricsSource,
    signing: CredentialsAdmin,
    ways_of: EndpointVariables = lambda _: {},
    *,
    events_service: EventsService,
    recording: RequestRecording,
    faults: FaultService,
) -> Starlette:
    """Return the application."""
    guard = Authenticator(token, hosts)
    rooms = (
        VmHandlers(fleet_service),
        EndpointHandlers(fleet_service, ways_of),
        IdentityHandlers(fleet_service, signing),
        CertificateHandlers(fleet_service, signing.ca),
        EventHandlers(events_service, fleet_service),
        ScenarioHandlers(events_service),
        ClockHandlers(events_service),
        RequestHandlers(recording),
        FaultHandlers(faults),
        _Rest(fleet_service, token, readings, LintSummary(recording)),
    )
    handlers = {name: one for room in rooms for name, one in _methods(room).items()}
    by_path: dict[str, dict[str, tuple[Operation, Handler]]] = {}
    for row in OPERATIONS:
        by_path.setdefault(row.path, {})[row.method] = (row, handlers[row.name])
    routes = [
        Route(path, _endpoint(guard, verbs), methods=[*verbs]) for path, verbs in by_path.items()
    ]
    made = Starlette(
        routes=routes, exception_handlers={HTTPException: _unknown, Exception: _broken}
    )
    # A path is what it says: a slash more is another path, not a detour.
    made.router.redirect_slashes = False
    return made


def _methods(handlers: object) -> dict[str, Handler]:
    return {name: getattr(handlers, name) for name in dir(handlers) if not name.startswith("_")}


def _endpoint(guard: Authenticator, verbs: dict[str, tuple[Operation, Handler]]) -> Handler:
    async def endpoint(request: Request) -> Response:
        row, handler = verbs["GET" if request.method == "HEAD" else request.method]
        try:
            guard.check(request, is_open=row.is_open)
            return await handler(request)
        except ProblemError as error:
            return response(error.problem, error.headers)
        except ConfigError as error:
            return response(of_config(error))
        except ConflictError as error:
            return _refusal(HTTPStatus.PRECONDITION_FAILED, f"{error}; read it again and retry")
        except Error as error:  # The store's, a token's or a key's: this machine's trouble.
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    return endpoint


def _refusal(status: HTTPStatus, detail: str) -> Response:
    return response(ProblemDetails(status.phrase, status.value, detail))


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer for a path, or a method of a path, that no row has."""
    path = request.url.path
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        status, allow = HTTPStatus.METHOD_NOT_ALLOWED, (error.headers or {}).get("Allow", "")
        problem = ProblemDetails(status.phrase, status.value, f"{path} takes {allow}")
        return response(problem, {"Allow": allow})
    return _refusal(HTTPStatus.NOT_FOUND, f"There is no {path}; /openapi.json lists what there is")


async def _broken(_: Request, error: Exception) -> Response:
    detail = f"A mistake of ours ({type(error).__name__}); the change may not have happened"
    return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


class _Rest:
    """The handlers that touch no VM."""

    def __init__(
        self,
        fleet_service: FleetService,
        token: AdminToken,
        readings: metrics.MetricsSource,
        judgement: LintSummary,
    ) -> None:
        self._fleet_service, self._token = fleet_service, token
        self._readings, self._judgement = readings, judgement

    async def list_audit(self, request: Request) -> Response:
        """List the changes with before and after."""
        limit = whole(request, "limit", _PAGE, 1, MOST_PER_PAGE)
        since = whole(request, "cursor", 0, 0, _MOST_REVISION)
        found = await self._fleet_service.call_store(
            self._fleet_service.store.changes, since, limit + 1
        )
        items = [{**_entry(one), **_states(one)} for one in found[:limit]]
        after = str(found[limit - 1].revision) if len(found) > limit else None
        return _json({"items": items, "next": after})

    async def follow_changes(self, request: Request) -> Response:
        """Follow the changes from a revision, or from now on; and what happens to events."""
        place = FeedPosition(None, None)
        if "since" in request.query_params:
            place.since = whole(request, "since", 0, 0, _MOST_REVISION)
        last = request.headers.get("last-event-id", "")
        if found := _PLACE.fullmatch(last):
            place = FeedPosition(*(min(int(text or 0), _MOST_REVISION) for text in found.groups()))
        return EventSourceResponse(self._events(place), ping=15)

    async def _events(self, place: "FeedPosition") -> AsyncIterator[ServerSentEvent]:
        fleet_service, feed = self._fleet_service, self._fleet_service.subscribe()
        # A number of another life: this store has forgotten, or is a new one.
        since = 0 if place.since and place.since > fleet_service.revision else place.since
        number = place.number
        number = 0 if number and number > fleet_service.last_log_entry else number
        at = FeedPosition(
            fleet_service.revision if since is None else since,
            fleet_service.last_log_entry if number is None else number,
        )
        try:
            while since is not None and (
                page := await fleet_service.call_store(fleet_service.store.changes, at.since, _PAGE)
            ):
                for change in page:
                    yield at.event(change)
            while number is not None and (
                more := await fleet_service.call_store(
                    fleet_service.store.log_entries, at.number, _PAGE
                )
            ):
                for log_entry in more:
                    yield at.event(log_entry)
            while (one := await feed.get()) is not None:
                if not at.has(one):
                    yield at.event(one)
            # Too slow, or the end: the client comes back with Last-Event-ID.
        finally:
            fleet_service.unsubscribe(feed)

    async def rotate_token(self, _: Request) -> Response:
        """Make a new token."""
        await asyncio.to_thread(self._token.rotate)
        return _json({"token_file": str(self._token.path)})

    async def get_health(self, _: Request) -> Response:
        """Say that the process runs."""
        return _json({"status": "ok"})

    async def get_readiness(self, _: Request) -> Response:
        """Say whether changes can be written."""
        await self._fleet_service.call_store(self._fleet_service.store.revision)
        return _json({"status": "ready"})

    async def get_metrics(self, _: Request) -> Response:
        """Return the numbers."""
        findings = await self._judgement.by_rule()
        body = metrics.exposition({**self._readings.samples(), metrics.FINDINGS: findings})
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def get_openapi(self, _: Request) -> Response:
        """Return the description of the API."""
        return _json(openapi())


def _entry(change: Change) -> dict[str, object]:
    return {
        "revision": change.revision,
        "at": change.at,
        "who": change.who,
        "name": change.name,
        "kind": "remove" if change.after is None else "put",
        "origin": change.origin,
    }


def _states(change: Change) -> dict[str, object]:
    return {
        key: None if body is None else msgspec.Raw(body)
        for key, body in (("before", change.before), ("after", change.after))
    }


_PLACE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


class FeedPosition:
    """How far a reader of the feed is: a revision of the VMs, a number of the events' log."""

    def __init__(self, since: int | None, number: int | None) -> None:
        """Begin after these; None is from now on."""
        self.since, self.number = since, number

    def has(self, one: Change | LogEntry) -> bool:
        """Tell whether the reader has seen this."""
        if isinstance(one, Change):
            return one.revision <= (self.since or 0)
        return one.number <= (self.number or 0)

    def event(self, one: Change | LogEntry) -> ServerSentEvent:
        """Return what the reader is told, and remember that."""
        if isinstance(one, Change):
            self.since = one.revision
            kind, data = "change", msgspec.json.encode(_entry(one))
        else:
            self.number = one.number
            kind, data = "event", line(one)
        # Before the first event the place is a revision alone.
        place = f"{self.since}-{self.number}" if self.number else str(self.since)
        return ServerSentEvent(data.decode(), event=kind, id=place)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
