"""Errors of the admin API in one shape: RFC 9457, `application/problem+json`."""

from http import HTTPStatus

import msgspec.json
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from openimds.errors import ConfigError, SpellingError

MEDIA = "application/problem+json"


class ProblemDetails(Struct, frozen=True):
    """An error (RFC 9457).

    `where`, `seen`, `expected` and `hint` are there when a part of the body is at fault.
    """

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    where: str | UnsetType = UNSET
    seen: str | UnsetType = UNSET
    expected: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET


class ProblemError(Exception):
    """Ends the handling of a request with a problem."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        """Make the problem; `detail` names the fault and the remedy."""
        self.problem = ProblemDetails(status.phrase, status.value, detail)
        self.headers = headers
        super().__init__(detail)


def bad_query(error: ConfigError) -> ProblemError:
    """Return the problem of a query parameter that does not fit: 400."""
    return ProblemError(HTTPStatus.BAD_REQUEST, str(error))


def not_found(detail: str) -> ProblemError:
    """Return the problem of a resource that does not exist: 404."""
    return ProblemError(HTTPStatus.NOT_FOUND, detail)


def gone(pruned: int, kind: str, remedy: str) -> ProblemError:
    """Return the problem of a position in a log whose next entries were pruned: 410.

    `pruned` is the number of the last pruned entry, `kind` the plural of the entries.
    """
    detail = f"The {kind} up to {pruned} were pruned, and with them some after this position"
    return ProblemError(HTTPStatus.GONE, f"{detail}. {remedy}")


def no_vm(name: str, reason: str = "") -> ProblemError:
    """Return the problem of a name that no served VM has: 404.

    `reason` is that of a quarantined VM.
    """
    if reason:
        return not_found(f'The VM "{name}" is not served: {reason}. Replace it with PUT')
    return not_found(f'There is no VM "{name}"; GET /v1/vms lists them')


def of_config(error: ConfigError) -> ProblemDetails:
    """Return the problem of a rejected body: 422, or 400 for a twofold key."""
    is_twofold = isinstance(error, SpellingError)
    status = HTTPStatus.BAD_REQUEST if is_twofold else HTTPStatus.UNPROCESSABLE_ENTITY
    return ProblemDetails(
        status.phrase,
        status.value,
        str(error),
        where=error.where,
        seen=error.seen,
        expected=error.expected,
        hint=error.hint or UNSET,
    )


def encode(problem: ProblemDetails) -> bytes:
    """Return the body that carries a problem."""
    return msgspec.json.encode(problem)


def response(problem: ProblemDetails, headers: dict[str, str] | None = None) -> Response:
    """Return the response that carries a problem."""
    return Response(encode(problem), problem.status, headers, MEDIA)


def problem_response(status: HTTPStatus, detail: str) -> Response:
    """Return the response that carries a problem with a detail alone."""
    return response(ProblemDetails(status.phrase, status.value, detail))
