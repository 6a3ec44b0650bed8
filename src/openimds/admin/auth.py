"""The checks before every operation: Host, token, and the type and size of the body."""

import asyncio
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from openimds.admin.host_rule import HostHeaderError, HostRule
from openimds.admin.problem import ProblemError
from openimds.admin.token import AdminToken

MOST_BODY_BYTES = 1 << 20
MOST_BODY_S = 10


class Authenticator:
    """Checks the Host header and the bearer token of a request."""

    def __init__(self, token: AdminToken, rule: HostRule) -> None:
        """Accept this token, at the names of a rule."""
        self._token, self._rule = token, rule

    def check(self, request: Request, *, is_open: bool) -> None:
        """Refuse a wrong Host or a wrong token.

        Raises:
            ProblemError: 421 or 401.
        """
        try:
            self._rule.check(request)
        except HostHeaderError as error:
            names = ", ".join(sorted(self._rule.names))
            detail = f"{error}. The API answers as {names}; --admin-hosts adds names"
            raise ProblemError(HTTPStatus.MISDIRECTED_REQUEST, detail) from None
        if not is_open and not self._token.fits(_bearer(request)):
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                f"Send the header Authorization: Bearer TOKEN; the token is in {self._token.path}",
                {"WWW-Authenticate": 'Bearer realm="openimds"'},
            )


def caller(request: Request) -> str:
    """Return the caller as the audit log names it."""
    return f"api {request.client.host if request.client else 'socket'}"


def check_media(request: Request, known: tuple[str, ...]) -> None:
    """Check the type of a body, which may be absent.

    Raises:
        ProblemError: 415, it is of another type, or has two.
    """
    values = request.headers.getlist("content-type") or [known[0]]
    media = [value.partition(";")[0].strip().lower() for value in values]
    if len(media) != 1 or media[0] not in known:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f'Content-Type: saw "{", ".join(media)}", expected {" or ".join(known)}. Send the '
            f"header Content-Type: {known[0]}",
        )


async def body_of(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        ProblemError: 413, as soon as it is too large; 408 when it takes too long; 400 if it breaks
            off.
    """
    body = b""
    try:
        async with asyncio.timeout(MOST_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BODY_BYTES:
                    detail = f"The body is larger than {MOST_BODY_BYTES} bytes"
                    raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    except ClientDisconnect:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "The body ended early") from None
    except TimeoutError:
        detail = f"The body did not arrive within {MOST_BODY_S} seconds"
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, detail) from None
    return body


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
