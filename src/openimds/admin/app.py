"""The admin API as an ASGI application: routes from the rows, errors in one shape."""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from openimds.admin.auth import Authenticator
from openimds.admin.host_rule import admin_rule
from openimds.admin.openapi import openapi_document
from openimds.admin.operation import Operation
from openimds.admin.operations import OPERATIONS
from openimds.admin.page.lazy import PAGE_PATHS, LazyPage
from openimds.admin.perform import perform
from openimds.admin.problem import ProblemDetails, problem_response, response
from openimds.admin.request_counts import OTHER, RequestCounts
from openimds.admin.services import AdminServices


def application(services: AdminServices, hosts: frozenset[str]) -> Starlette:
    """Return the application; `hosts` are its names beside those of loopback."""
    authenticator = Authenticator(
        services.token, services.tokens, admin_rule(hosts), services.failed_tokens
    )
    by_path: dict[str, dict[str, Operation]] = {}
    for row in OPERATIONS:
        by_path.setdefault(row.path, {})[row.method] = row
    routes = [
        Route(path, _endpoint(services, authenticator, rows), methods=[*rows])
        for path, rows in by_path.items()
    ]
    routes += [Route(path, LazyPage(services, authenticator)) for path in PAGE_PATHS]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _unknown(services.request_counts),
            Exception: _internal_error,
        },
    )
    app.state.openapi = cache(lambda: openapi_document(OPERATIONS))
    # A trailing slash makes another path, which does not exist: no redirect.
    app.router.redirect_slashes = False
    return app


def _endpoint(
    services: AdminServices, authenticator: Authenticator, rows: dict[str, Operation]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        row = rows["GET" if request.method == "HEAD" else request.method]
        return await perform(services, row, request, partial(authenticator.check, request, row))

    return endpoint


def _unknown(counts: RequestCounts) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def unknown(request: Request, error: Exception) -> Response:
        answer = _unknown_problem(request, error)
        counts.note(OTHER, OTHER, answer.status_code, 0.0)
        return answer

    return unknown


def _unknown_problem(request: Request, error: Exception) -> Response:
    """Return the problem of a path or method without an operation."""
    path = request.url.path
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        status, allow = HTTPStatus.METHOD_NOT_ALLOWED, (error.headers or {}).get("Allow", "")
        problem = ProblemDetails(status.phrase, status.value, f"{path} takes {allow}")
        return response(problem, {"Allow": allow})
    return problem_response(
        HTTPStatus.NOT_FOUND, f"There is no {path}; /openapi.json lists all paths"
    )


async def _internal_error(_: Request, error: Exception) -> Response:
    detail = (
        f"internal error ({type(error).__name__}), please report it; "
        "the change may not have been made"
    )
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
