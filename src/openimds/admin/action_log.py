"""Log lines of operators' requests: the token, the address, the operation, the status.

A body is never logged, nor a query, nor the detail of a problem: they may have secrets.
"""

from collections.abc import Callable
from http import HTTPStatus

from starlette.requests import Request

from openimds.admin.operation import Operation
from openimds.admin.roles import GRANT, TokenGrant
from openimds.log.event import Level, LogMessage
from openimds.log.events import ADMIN_ACTION, ADMIN_DENIED, ADMIN_LOGIN, ADMIN_READ

NOBODY = "-"
"""The name of a caller without a token."""
_READS = {"GET", "HEAD"}
_DENIALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST}
Notify = Callable[[str], None]


def log_request(
    notify: Notify, row: Operation, request: Request, status: int, duration_s: float
) -> None:
    """Log a request to an operation, whose answer began after so many seconds."""
    target = request.path_params.get(row.parameter.name, "") if row.parameter else ""
    notify(_message(row.name, str(target), row.method, request, status, duration_s))


def log_denial(notify: Notify, request: Request, status: int) -> None:
    """Log a request that is denied before it has an operation; others are left out."""
    if status in _DENIALS:
        notify(_message("page", request.url.path, request.method, request, status, 0.0))


def log_login(notify: Notify, request: Request, grant: TokenGrant) -> None:
    """Log the begin of a session."""
    peer = _peer(request)
    notify(ADMIN_LOGIN.message(f"{grant.name} at {peer} signs in", who=grant.name, peer=peer))


def _message(  # noqa: PLR0913, PLR0917 - the fields of the line
    operation: str, target: str, method: str, request: Request, status: int, duration_s: float
) -> LogMessage:
    grant: TokenGrant | None = request.scope.get(GRANT)
    who, peer = grant.name if grant else NOBODY, _peer(request)
    event = ADMIN_READ if method in _READS else ADMIN_ACTION
    level = event.level
    if status in _DENIALS:
        event = ADMIN_DENIED
        level = Level.INFO if status == HTTPStatus.UNAUTHORIZED else event.level
    return event.at(
        level,
        f"{who} at {peer}: {operation}{f' {target}' if target else ''}: {status}",
        who=who,
        peer=peer,
        operation=operation,
        target=target,
        method=method,
        status=status,
        milliseconds=round(duration_s * 1000),
    )


def _peer(request: Request) -> str:
    return request.client.host if request.client and request.client.host else "unix socket"
