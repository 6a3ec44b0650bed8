"""The checks before every operation: Host, token, and the type and size of the body."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from openimds.admin.failed_tokens import FailedTokens, TokenFailure
from openimds.admin.host_rule import HostHeaderError, HostRule
from openimds.admin.lazy_server import CONNECTION
from openimds.admin.problem import ProblemError
from openimds.admin.token import AdminToken

MOST_BODY_BYTES = 1 << 20
MOST_BODY_S = 10
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,1024}=*")
"""The form of a bearer token (RFC 6750, 2.1)."""
Wait = Callable[[float], Awaitable[None]]


class Authenticator:
    """Checks the Host header and the bearer token of a request."""

    def __init__(
        self, token: AdminToken, rule: HostRule, failures: FailedTokens, wait: Wait = asyncio.sleep
    ) -> None:
        """Accept this token, at the names of a rule; `wait` delays answers to failures."""
        self._token, self._rule, self._failures, self._wait = token, rule, failures, wait

    async def check(self, request: Request, *, is_open: bool) -> None:
        """Refuse a wrong Host, or a wrong token, which may have to wait.

        Raises:
            ProblemError: 421 or 401.
        """
        try:
            self._rule.check(request)
        except HostHeaderError as error:
            names = ", ".join(sorted(self._rule.names))
            detail = f"{error}. The API answers as {names}; --admin-hosts adds names"
            raise ProblemError(HTTPStatus.MISDIRECTED_REQUEST, detail) from None
        if is_open:
            return
        if self._token.fits(_bearer(request)):
            _connection(request, "prove")
            return
        address = request.client.host if request.client else ""
        if wait_s := self._failures.note(_failure(request), address):
            _connection(request, "yield")
            await self._wait(wait_s)
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


def _failure(request: Request) -> TokenFailure:
    """Return the kind of a request without the right token."""
    values = request.headers.getlist("authorization")
    if not any(values):
        return TokenFailure.ABSENT
    if len(values) > 1 or not _TOKEN.fullmatch(_bearer(request)):
        return TokenFailure.MALFORMED
    return TokenFailure.WRONG


def _connection(request: Request, act: str) -> None:
    """Tell the web server about the connection of a request; a test may have none."""
    act_on = request.scope.get("extensions", {}).get(CONNECTION)
    if act_on:
        act_on[act]()


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
