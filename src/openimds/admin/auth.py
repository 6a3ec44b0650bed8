"""What stands before every operation: the Host check, the token, the size of a body."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from openimds.admin.problem import ProblemError
from openimds.admin.token import AdminToken

MOST_BODY_BYTES = 1 << 20
MOST_BODY_S = 10
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})

Handler = Callable[[Request], Awaitable[Response]]


class Authenticator:
    """Lets a request through, or ends it with a problem."""

    def __init__(self, token: AdminToken, hosts: frozenset[str]) -> None:
        """Know the token, and the names under which the API may be called beside the local ones."""
        self._token = token
        self._hosts = _LOCAL | hosts

    def check(self, request: Request, *, is_open: bool) -> None:
        """Refuse a wrong Host, as a page that had its name rebound would send, or a wrong token.

        Raises:
            ProblemError: 421 or 401.
        """
        host = _host_of(request.headers.get("host", ""))
        if host not in self._hosts:
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST,
                f'Host "{host}" is not a name of this API; it answers as {", ".join(self.names)}',
            )
        if not is_open and not self._token.fits(_bearer(request)):
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                f"Send the header Authorization: Bearer TOKEN; the token is in {self._token.path}",
                {"WWW-Authenticate": 'Bearer realm="openimds"'},
            )

    @property
    def names(self) -> list[str]:
        """The names under which the API may be called."""
        return sorted(self._hosts)


async def body_of(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        ProblemError: 413, as soon as it is too large; 408 when it takes too long.
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
        detail = f"The body has not come within {MOST_BODY_S} seconds"
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, detail) from None
    return body


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
