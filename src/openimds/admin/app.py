"""The admin API as an ASGI application: routes from the rows, errors in one shape."""

from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus

import msgspec.json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from openimds.admin.auth import Authenticator, check_media
from openimds.admin.host_rule import admin_rule
from openimds.admin.openapi import openapi_document
from openimds.admin.operation import JSON, Answer, Operation
from openimds.admin.operations import OPERATIONS
from openimds.admin.problem import ProblemDetails, ProblemError, of_config, response
from openimds.admin.services import AdminServices
from openimds.errors import ConfigError, Error, shortage
from openimds.fleet.store.port import ConflictError


def application(services: AdminServices, hosts: frozenset[str]) -> Starlette:
    """Return the application; `hosts` are its names beside those of loopback."""
    authenticator = Authenticator(services.token, admin_rule(hosts), services.failed_tokens)
    by_path: dict[str, dict[str, Operation]] = {}
    for row in OPERATIONS:
        by_path.setdefault(row.path, {})[row.method] = row
    routes = [
        Route(path, _endpoint(services, authenticator, rows), methods=[*rows])
        for path, rows in by_path.items()
    ]
    app = Starlette(
        routes=routes, exception_handlers={HTTPException: _unknown, Exception: _internal_error}
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
        try:
            await authenticator.check(request, is_open=row.is_open)
            if row.takes:
                check_media(request, row.takes.media)
            return _response(await row.handler(services, request), row.status)
        except ProblemError as error:
            return response(error.problem, error.headers)
        except ConfigError as error:
            if shortage(error):  # The body is right; a listener of it cannot be opened now.
                return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return response(of_config(error))
        except ConflictError as error:
            return _problem(HTTPStatus.PRECONDITION_FAILED, f"{error}; read it again and retry")
        except Error as error:  # Of the store, the token or a key: a fault of this machine.
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    return endpoint


def _response(answer: Answer, status: int) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Response(msgspec.json.encode(answer), status, media_type=JSON)


def _problem(status: HTTPStatus, detail: str) -> Response:
    return response(ProblemDetails(status.phrase, status.value, detail))


async def _unknown(request: Request, error: Exception) -> Response:
    """Return the problem of a path or method without an operation."""
    path = request.url.path
    if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        status, allow = HTTPStatus.METHOD_NOT_ALLOWED, (error.headers or {}).get("Allow", "")
        problem = ProblemDetails(status.phrase, status.value, f"{path} takes {allow}")
        return response(problem, {"Allow": allow})
    return _problem(HTTPStatus.NOT_FOUND, f"There is no {path}; /openapi.json lists all paths")


async def _internal_error(_: Request, error: Exception) -> Response:
    detail = (
        f"internal error ({type(error).__name__}), please report it; "
        "the change may not have been made"
    )
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
