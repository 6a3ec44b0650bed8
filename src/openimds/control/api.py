"""The admin API as an ASGI application: routes from the rows, one shape of error."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import msgspec.json
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from openimds.control import metrics
from openimds.control.desk import Desk
from openimds.control.guard import Guard, Handler
from openimds.control.operations import MOST_PER_PAGE, OPERATIONS, Operation
from openimds.control.problem import Problem, ProblemError, of_config, response
from openimds.control.schema import openapi
from openimds.control.token import Token, TokenError
from openimds.control.vms import Vms, whole
from openimds.errors import ConfigError
from openimds.store.port import Change, ConflictError, StoreError

_MOST_REVISION = 10**15
_PAGE = 100


def application(
    desk: Desk, token: Token, hosts: frozenset[str], readings: metrics.Readings
) -> Starlette:
    """Return the application."""
    guard = Guard(token, hosts)
    handlers = {**_methods(Vms(desk)), **_methods(_Rest(desk, token, readings))}
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


def _endpoint(guard: Guard, verbs: dict[str, tuple[Operation, Handler]]) -> Handler:
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
        except (StoreError, TokenError) as error:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    return endpoint


def _refusal(status: HTTPStatus, detail: str) -> Response:
    return response(Problem(status.phrase, status.value, detail))


async def _unknown(request: Request, error: Exception) -> Response:
    """Answer for a path, or a method of a path, that no row has."""
    path = request.url.path
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        status, allow = HTTPStatus.METHOD_NOT_ALLOWED, (error.headers or {}).get("Allow", "")
        problem = Problem(status.phrase, status.value, f"{path} takes {allow}")
        return response(problem, {"Allow": allow})
    return _refusal(HTTPStatus.NOT_FOUND, f"There is no {path}; /openapi.json lists what there is")


async def _broken(_: Request, error: Exception) -> Response:
    detail = f"A mistake of ours ({type(error).__name__}); the change may not have happened"
    return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


class _Rest:
    """The handlers that touch no VM."""

    def __init__(self, desk: Desk, token: Token, readings: metrics.Readings) -> None:
        self._desk, self._token, self._readings = desk, token, readings

    async def list_audit(self, request: Request) -> Response:
        """List the changes with before and after."""
        limit = whole(request, "limit", _PAGE, 1, MOST_PER_PAGE)
        since = whole(request, "cursor", 0, 0, _MOST_REVISION)
        found = await self._desk.ask(self._desk.store.changes, since, limit + 1)
        items = [{**_entry(one), **_states(one)} for one in found[:limit]]
        after = str(found[limit - 1].revision) if len(found) > limit else None
        return _json({"items": items, "next": after})

    async def follow_changes(self, request: Request) -> Response:
        """Follow the changes from a revision, or from now on."""
        since = None
        if "since" in request.query_params:
            since = whole(request, "since", 0, 0, _MOST_REVISION)
        last = request.headers.get("last-event-id", "")
        if last.isascii() and last.isdecimal():
            since = min(int(last[:18]), _MOST_REVISION)
        return EventSourceResponse(self._events(since), ping=15)

    async def _events(self, since: int | None) -> AsyncIterator[ServerSentEvent]:
        feed = self._desk.subscribe()
        if since is not None and since > self._desk.revision:
            since = 0  # A revision of another life: this store has forgotten, or is a new one.
        try:
            seen = since or 0
            while since is not None:
                page = await self._desk.ask(self._desk.store.changes, seen, _PAGE)
                for change in page:
                    seen = change.revision
                    yield _event(change)
                if not page:
                    break
            while True:
                change_or_gap = await feed.get()
                if change_or_gap is None:
                    return  # Too slow: the client comes back with Last-Event-ID.
                if change_or_gap.revision > seen:
                    seen = change_or_gap.revision
                    yield _event(change_or_gap)
        finally:
            self._desk.unsubscribe(feed)

    async def rotate_token(self, _: Request) -> Response:
        """Make a new token."""
        await asyncio.to_thread(self._token.rotate)
        return _json({"token_file": str(self._token.path)})

    async def get_health(self, _: Request) -> Response:
        """Say that the process runs."""
        return _json({"status": "ok"})

    async def get_readiness(self, _: Request) -> Response:
        """Say whether changes can be written."""
        await self._desk.ask(self._desk.store.revision)
        return _json({"status": "ready"})

    async def get_metrics(self, _: Request) -> Response:
        """Return the numbers."""
        body = metrics.exposition(self._readings)
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


def _event(change: Change) -> ServerSentEvent:
    data = msgspec.json.encode(_entry(change)).decode()
    return ServerSentEvent(data, event="change", id=str(change.revision))


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
