"""The way of a request through its operation: checks, handler, and the shape of failures.

The API and the page in the browser both go this way, so an operation has the same errors in both.
"""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.action_log import log_request
from openimds.admin.auth import check_media
from openimds.admin.operation import JSON, Answer, Operation
from openimds.admin.problem import ProblemError, of_config, problem_response, response
from openimds.admin.services import AdminServices
from openimds.admin.token_scope import check_scope
from openimds.errors import ConfigError, Error, shortage
from openimds.fleet.store.port import ConflictError
from openimds.parameters import old_names, old_names_notice


async def perform(
    services: AdminServices,
    row: Operation,
    request: Request,
    check: Callable[[], Awaitable[None]],
) -> Response:
    """Do and count an operation behind a check; log it, and show failures as problems."""
    began_s, status = time.monotonic(), int(HTTPStatus.INTERNAL_SERVER_ERROR)
    try:
        answer = await _answer(services, row, request, check)
        status = answer.status_code
        return answer
    finally:
        duration_s = time.monotonic() - began_s
        services.request_counts.note(row.path, row.method, status, duration_s)
        log_request(services.notify, row, request, status, duration_s)


async def _answer(
    services: AdminServices,
    row: Operation,
    request: Request,
    check: Callable[[], Awaitable[None]],
) -> Response:
    try:
        await check()
        check_scope(services, request, row)
        if row.takes:
            check_media(request, row.takes.media)
        with old_names() as found:
            answer = _response(await row.handler(services, request), row.status)
        if found:
            answer.headers["Warning"] = warning(old_names_notice(found))
        return answer  # noqa: TRY300 - the failures of all of it are shown
    except ProblemError as error:
        return response(error.problem, error.headers)
    except ConfigError as error:
        if shortage(error):  # The body is right; a listener of it cannot be opened now.
            return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return response(of_config(error))
    except ConflictError as error:
        detail = f"{error}; read it again and retry"
        return problem_response(HTTPStatus.PRECONDITION_FAILED, detail)
    except Error as error:  # Of the store, the token or a key: a fault of this machine.
        return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, str(error))


def warning(notice: str) -> str:
    """Return the value of a Warning header, as Kubernetes sends it."""
    text = notice.replace("\\", " ").replace('"', "'").encode("ascii", "replace").decode()
    return f'299 openimds "{text}"'


def _response(answer: Answer, status: int) -> Response:
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Response(msgspec.json.encode(answer), status, media_type=JSON)
