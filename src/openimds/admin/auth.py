"""The checks before every operation: Host, token, and the size of the body."""

import asyncio
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from openimds.admin.problem import ProblemError
from openimds.admin.token import AdminToken

MOST_BODY_BYTES = 1 << 20
MOST_BODY_S = 10
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Authenticator:
    """Checks the Host header and the bearer token of a request."""

    def __init__(self, token: AdminToken, hosts: frozenset[str]) -> None:
        """Accept this token, and these hosts beside those of loopback."""
        self._token = token
        self._hosts = _LOCAL | hosts

    def check(self, request: Request, *, is_open: bool) -> None:
        """Refuse a wrong Host or a wrong token.

        A web page that rebinds its name (DNS rebinding) sends a wrong Host.

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
        """The host names that are accepted."""
        return sorted(self._hosts)


def caller(request: Request) -> str:
    """Return the caller as the audit log names it."""
    return f"api {request.client.host if request.client else 'socket'}"


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


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
