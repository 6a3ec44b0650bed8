"""The checks before every operation: Host, token, role, type and size of the body."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any

from starlette.requests import ClientDisconnect, Request

from openimds.admin.failed_tokens import FailedTokens, TokenFailure
from openimds.admin.host_header import HostHeaderError
from openimds.admin.host_rule import HostRule
from openimds.admin.lazy_server import CONNECTION, END_CONNECTION
from openimds.admin.operation import Operation
from openimds.admin.problem import ProblemError
from openimds.admin.roles import FILE_TOKEN, GRANT, Role, TokenGrant
from openimds.admin.token import AdminToken, token_digest
from openimds.admin.token_connections import EndConnection
from openimds.admin.token_registry import TokenRegistry

MOST_BODY_BYTES = 1 << 20
MOST_BODY_S = 10
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,1024}=*")
"""The form of a bearer token (RFC 6750, 2.1)."""
_CHALLENGE = 'Bearer realm="openimds"'
_EXPIRED = f'{_CHALLENGE}, error="invalid_token", error_description="expired"'
Wait = Callable[[float], Awaitable[None]]


class Authenticator:
    """Checks the Host header of a request, its bearer token, and the role of that."""

    def __init__(
        self,
        token: AdminToken,
        tokens: TokenRegistry,
        rule: HostRule,
        failures: FailedTokens,
        wait: Wait = asyncio.sleep,
    ) -> None:
        """Accept these tokens, at the names of a rule; `wait` delays answers to failures."""
        self._token, self._tokens = token, tokens
        self._rule, self._failures, self._wait = rule, failures, wait

    async def check(self, request: Request, row: Operation) -> None:
        """Refuse a wrong Host, a wrong token, or a role that is too low.

        The answer to a wrong token may have to wait. The scope of a request that passes has the
        grant of its token, unless the operation is open.

        Raises:
            ProblemError: 421, 401 or 403.
            Error: the token file or the tokens in the store cannot be read.
        """
        self.check_host(request)
        if row.is_open or (row.is_open_on_loopback and _is_local(request)):
            return
        digest = token_digest(_bearer(request))
        if grant := await self.grant_of(request, digest):
            admit(request, grant, row)
            return
        found = await self._tokens.find_digest(digest)
        failure = TokenFailure.EXPIRED if found else _failure(request)
        await self.note_failure(request, failure)
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            self._tokens.why_ended(found)
            if found
            else f"Send the header Authorization: Bearer TOKEN; the token is in {self._token.path}",
            {"WWW-Authenticate": _EXPIRED if found else _CHALLENGE},
        )

    def check_host(self, request: Request) -> None:
        """Refuse a request whose Host is no name of the admin API.

        Raises:
            ProblemError: 421.
        """
        try:
            self._rule.check(request)
        except HostHeaderError as error:
            names = ", ".join(sorted(self._rule.names))
            detail = f"{error}. The API answers as {names}; --admin-hosts adds names"
            raise ProblemError(HTTPStatus.MISDIRECTED_REQUEST, detail) from None

    async def note_failure(self, request: Request, kind: TokenFailure) -> None:
        """Count a request without the right token, and wait if its address has many."""
        address = request.client.host if request.client else ""
        if wait_s := self._failures.note(kind, address):
            _connection(request, "yield")
            await self._wait(wait_s)

    async def grant_of(self, request: Request, digest: str) -> TokenGrant | None:
        """Return the grant of a request's token by its digest, and note its use.

        None for no token, and for one that has ended.

        Raises:
            Error: the token file or the tokens in the store cannot be read.
        """
        if self._token.fits_digest(digest):
            _connection(request, "prove")
            self._token.note_use(own_end(request))
            return TokenGrant(FILE_TOKEN, Role.ADMIN)
        found = await self._tokens.find_digest(digest)
        if found is None or self._tokens.why_ended(found):
            return None
        _connection(request, "prove")
        await self._tokens.note_use(found, own_end(request))
        return TokenGrant(found.token.name, found.token.role, found.token.select)


def admit(request: Request, grant: TokenGrant, row: Operation) -> None:
    """Put a grant into the scope of a request for an operation.

    Raises:
        ProblemError: 403, its role is too low.
    """
    request.scope[GRANT] = grant  # First: the log names the token of a denied request, too.
    if not grant.role.includes(row.role):
        raise _too_low(grant, row)


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a bearer token."""
    return _TOKEN.fullmatch(text) is not None


def _too_low(grant: TokenGrant, row: Operation) -> ProblemError:
    detail = (
        f"{row.name} needs a token of the role {row.role}; that of this request ({grant.name}) "
        f"has the role {grant.role}. Type openimds token add NAME --role {row.role} with the "
        "token file"
    )
    return ProblemError(HTTPStatus.FORBIDDEN, detail)


def _is_local(request: Request) -> bool:
    """Tell whether the caller is on this machine: at loopback, or at a unix socket."""
    if request.client is None:
        return True
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


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
    act_on = _extension(request, CONNECTION)
    if act_on:
        act_on[act]()


def own_end(request: Request) -> EndConnection | None:
    """Return the end of a request's own connection; a test may have none."""
    end: EndConnection | None = _extension(request, END_CONNECTION).get("end")
    return end


def _extension(request: Request, name: str) -> dict[str, Any]:
    found: dict[str, Any] = request.scope.get("extensions", {}).get(name, {})
    return found


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
