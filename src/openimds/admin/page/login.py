"""Login and its form: a token is exchanged for a session."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from openimds.admin.action_log import log_login
from openimds.admin.auth import Authenticator, is_token
from openimds.admin.failed_tokens import TokenFailure
from openimds.admin.page.session_gate import SessionGate, check_origin, fields_of
from openimds.admin.roles import Role
from openimds.admin.token import token_digest

START = "/ui/"
_NEXT = re.compile(r"/ui/[!-\[\]-~]{0,1000}")
"""A path of the page, in the characters of a URL, without a backslash."""


class LoginPages:
    """Shows the login form, and takes it."""

    def __init__(
        self,
        gate: SessionGate,
        authenticator: Authenticator,
        draw: Callable[[str, dict[str, Any]], str],
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Draw with a function that takes a template and its values; log by `notify`."""
        self._gate, self._authenticator, self._draw = gate, authenticator, draw
        self._notify = notify

    async def show(self, request: Request) -> Response:
        """Show the form, or go on if there is a session."""
        if await self._gate.admit(request) is not None:
            return RedirectResponse(_next(request), HTTPStatus.SEE_OTHER)
        return self._form(request, HTTPStatus.OK, "")

    async def take(self, request: Request) -> Response:
        """Begin a session for a right token.

        A wrong one is counted, and its answer waits, as at the API.
        """
        check_origin(request)
        fields = await fields_of(request)
        self._gate.check_login(request, fields)
        text = fields.get("token", "").strip()
        digest = token_digest(text)
        grant = await self._authenticator.grant_of(request, digest)
        if grant is None:
            await self._authenticator.note_failure(request, _failure(text))
            return self._form(request, HTTPStatus.UNAUTHORIZED, _FAULTS[_failure(text)])
        if not grant.role.includes(Role.READ):
            fault = f"The token {grant.name} has the role {grant.role}, which reads no page."
            return self._form(request, HTTPStatus.FORBIDDEN, fault)
        if grant.select:  # Its pages show the whole fleet.
            fault = f"The token {grant.name} is bound to {grant.select}; use it with commands."
            return self._form(request, HTTPStatus.FORBIDDEN, fault)
        response = RedirectResponse(_next(request), HTTPStatus.SEE_OTHER)
        self._gate.open(request, response, digest)
        log_login(self._notify, request, grant)
        return response

    def _form(self, request: Request, status: HTTPStatus, fault: str) -> Response:
        nonce, csrf = self._gate.begin_login(request)
        back = _next(request)
        values = {"title": "Sign in", "csrf": csrf, "fault": fault, "next": back}
        text = self._draw("login.html", values)
        response = Response(text, status, media_type="text/html; charset=utf-8")
        self._gate.keep_nonce(request, response, nonce)
        return response


_FAULTS = {
    TokenFailure.ABSENT: "Enter a token.",
    TokenFailure.MALFORMED: "This is not the form of a token: letters, digits and - . _ ~ + /.",
    TokenFailure.WRONG: "This token is not known here. It may have expired, or been revoked.",
}


def _failure(text: str) -> TokenFailure:
    if not text:
        return TokenFailure.ABSENT
    return TokenFailure.WRONG if is_token(text) else TokenFailure.MALFORMED


def _next(request: Request) -> str:
    """Return the page to show after the login: one of this server."""
    wanted = request.query_params.get("next", "")
    return wanted if _NEXT.fullmatch(wanted) else START
