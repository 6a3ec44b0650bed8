"""The one shape of an error of the admin API: RFC 9457, `application/problem+json`."""

from http import HTTPStatus

import msgspec.json
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from openimds.errors import ConfigError

MEDIA = "application/problem+json"


class ProblemDetails(Struct, frozen=True):
    """A refusal of the admin API.

    `where`, `seen`, `expected` and `hint` are there when the mistake has a place in what was sent.
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
        """Say what was wrong, and what to do about it."""
        self.problem = ProblemDetails(status.phrase, status.value, detail)
        self.headers = headers
        super().__init__(detail)


def of_config(error: ConfigError) -> ProblemDetails:
    """Return the problem of a body that cannot be used."""
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return ProblemDetails(
        status.phrase,
        status.value,
        str(error),
        where=error.where,
        seen=error.seen,
        expected=error.expected,
        hint=error.hint or UNSET,
    )


def response(problem: ProblemDetails, headers: dict[str, str] | None = None) -> Response:
    """Return a problem as an answer."""
    return Response(msgspec.json.encode(problem), problem.status, headers, MEDIA)
