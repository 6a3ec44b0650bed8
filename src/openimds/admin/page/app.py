"""The application below /ui/: login, static files, pages and forms from their rows."""

import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from openimds.admin.action_log import log_denial
from openimds.admin.auth import Authenticator
from openimds.admin.page.fleet_view import FleetView
from openimds.admin.page.login import LoginPages
from openimds.admin.page.page_row import FormRow, PageCall, PageProblemError, PageRow, value_of
from openimds.admin.page.page_rows import FORMS, PAGES
from openimds.admin.page.rendering import STATIC, Templates, page_url
from openimds.admin.page.session_gate import (
    CSRF_FIELD,
    Admitted,
    SessionGate,
    check_origin,
    fields_of,
)
from openimds.admin.page.sessions import Sessions
from openimds.admin.problem import ProblemDetails, ProblemError
from openimds.admin.request_counts import OTHER
from openimds.admin.services import AdminServices
from openimds.errors import Error

HTML = "text/html; charset=utf-8"
LIVE = "live"
"""The query parameter with the name of a block that the script asks for."""
_Endpoint = Callable[[Request], Awaitable[Response]]


def page_application(
    services: AdminServices,
    authenticator: Authenticator,
    now: Callable[[], float] = time.monotonic,
) -> "PageApplication":
    """Return the application; `now` is the steady clock of its sessions."""
    return PageApplication(services, SessionGate(authenticator, Sessions(now)), authenticator)


class PageApplication:
    """Routes requests below /ui, and answers failures by a page."""

    def __init__(
        self, services: AdminServices, gate: SessionGate, authenticator: Authenticator
    ) -> None:
        """Make the routes of all rows."""
        self._services, self.gate = services, gate
        self._fleet = FleetView(services)
        self._templates = Templates()
        login = LoginPages(gate, authenticator, self._draw_bare, services.notify)
        routes = [
            self._route("GET", "/ui", _to_start),
            self._route("GET", "/ui/static/{file}", _static),
            self._route("GET", "/ui/login", login.show),
            self._route("POST", "/ui/login", login.take),
            self._route("POST", "/ui/logout", self._log_out),
            *(self._route("GET", _full(row.path), self._page(row)) for row in PAGES),
            *(self._route("POST", _full(row.path), self._form(row)) for row in FORMS),
            *(self._route("GET", _full(row.path), self._back(row)) for row in FORMS),
        ]
        self._router = Router(routes, redirect_slashes=False)
        self._pages = {row.path: row for row in PAGES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        matches = [route.matches(scope)[0] for route in self._router.routes]
        if Match.FULL in matches:
            await self._router(scope, receive, send)
            return
        status = HTTPStatus.METHOD_NOT_ALLOWED if Match.PARTIAL in matches else HTTPStatus.NOT_FOUND
        absent = partial(self._absent, status)
        answer = await self._guarded(absent, Request(scope, receive), OTHER, OTHER)
        await answer(scope, receive, send)

    def _route(self, method: str, path: str, endpoint: _Endpoint) -> Route:
        async def guarded(request: Request) -> Response:
            return await self._guarded(endpoint, request, path, method)

        return Route(path, guarded, methods=[method])

    async def _guarded(
        self, endpoint: _Endpoint, request: Request, route: str, method: str
    ) -> Response:
        """Call an endpoint behind the Host rule, and count the call; its failures are pages."""
        began_s = time.monotonic()
        answer = await self._answer(endpoint, request)
        duration_s = time.monotonic() - began_s
        self._services.request_counts.note(route, method, answer.status_code, duration_s)
        return answer

    async def _answer(self, endpoint: _Endpoint, request: Request) -> Response:
        try:
            self.gate.check_host(request)
            return await endpoint(request)
        except ProblemError as error:
            log_denial(self._services.notify, request, error.problem.status)
            return self._problem(request, error.problem)
        except PageProblemError as error:
            return self._problem(request, error.problem)
        except Error as error:  # Of the store or the token: a fault of this machine.
            status = HTTPStatus.SERVICE_UNAVAILABLE
            problem = ProblemDetails(status.phrase, status.value, str(error))
            return self._problem(request, problem)

    def _call(self, request: Request, admitted: Admitted) -> PageCall:
        return PageCall(self._services, request, admitted, self._fleet)

    def _page(self, row: PageRow) -> _Endpoint:
        async def endpoint(request: Request) -> Response:
            admitted = await self.gate.admit(request)
            if admitted is None:
                return _to_login(request)
            _check_role(admitted, row)
            call = self._call(request, admitted)
            block = request.query_params.get(LIVE, "")
            if not block:
                return await self._drawn(row, call)
            call.block = block
            if block not in row.live:
                raise ProblemError(HTTPStatus.NOT_FOUND, f"This page has no part {block[:80]!r}")
            return await self._drawn_block(row, call, block)

        return endpoint

    def _form(self, row: FormRow) -> _Endpoint:
        async def endpoint(request: Request) -> Response:
            check_origin(request)
            admitted = await self.gate.admit(request)
            if admitted is None:
                return _to_login(request)
            fields = await fields_of(request)
            self.gate.check_form(admitted.session, fields)
            del fields[CSRF_FIELD]
            page, call = self._pages[row.page], self._call(request, admitted)
            try:
                answer = value_of(await call.perform(row.call(call, fields)))
            except (PageProblemError, ProblemError) as error:
                call.form, call.typed, call.problem = row.path, fields, error.problem
                _check_role(admitted, page)
                return await self._drawn(page, call, error.problem.status)
            admitted.session.notice = row.notice(call, fields, answer)
            return _see(row.then(call, fields, answer))

        return endpoint

    def _back(self, row: FormRow) -> _Endpoint:
        """Return the way from a form's path, which a failed form leaves in the browser."""

        async def endpoint(request: Request) -> Response:
            return _see(_with_query(page_path(self._pages[row.page], request), request))

        return endpoint

    async def _drawn(self, row: PageRow, call: PageCall, status: int = HTTPStatus.OK) -> Response:
        values = {**self._frame(row, call), **await row.values(call)}
        return Response(self._templates.draw(row.template, values), status, media_type=HTML)

    async def _drawn_block(self, row: PageRow, call: PageCall, block: str) -> Response:
        """Return one block, or 304 if the script has it."""
        known = call.request.headers.get("if-none-match", "")
        state = await row.version(call) if row.version else ""
        version = f'"{state}"' if state else ""
        if version and version == known:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": version})
        notice, call.session.notice = call.session.notice, ""
        values = {**self._frame(row, call), **await row.values(call)}
        call.session.notice = notice  # For a whole page to show.
        text = self._templates.draw(row.template, values, block)
        tag = version or f'"{sha256(text.encode()).hexdigest()[:32]}"'
        if tag == known:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
        return Response(text, headers={"ETag": tag}, media_type=HTML)

    def _frame(self, row: PageRow, call: PageCall) -> dict[str, Any]:
        """Return the values that every page has."""
        notice, call.session.notice = call.session.notice, ""
        role = call.grant.role
        return {
            "title": row.title,
            "path": page_path(row, call.request),
            "here": _with_query(page_path(row, call.request), call.request),
            "query": dict(call.query),
            "navigation": [
                (one.title, page_url(one.path))
                for one in PAGES
                if one.is_in_navigation and role.includes(one.role)
            ],
            "grant": call.grant,
            "csrf": call.session.csrf,
            "may": call.may,
            "is_admin": call.is_admin,
            "notice": notice,
            "form": call.form,
            "typed": call.typed,
            "problem": call.problem,
        }

    def _draw_bare(self, template: str, values: dict[str, Any]) -> str:
        """Return a page without a session."""
        return self._templates.draw(template, values)

    def _problem(self, request: Request, problem: ProblemDetails) -> Response:
        """Return the page of a failure; a line of text to the script."""
        if LIVE in request.query_params:
            return Response(problem.detail, problem.status, media_type="text/plain")
        text = self._templates.draw("problem.html", {"problem": problem, "title": problem.title})
        return Response(text, problem.status, media_type=HTML)

    async def _log_out(self, request: Request) -> Response:
        check_origin(request)
        admitted = await self.gate.admit(request)
        response = _see(page_url("/login"))
        if admitted is not None:
            self.gate.check_form(admitted.session, await fields_of(request))
            self.gate.close(request, response)
        return response

    async def _absent(self, status: HTTPStatus, request: Request) -> Response:
        if await self.gate.admit(request) is None and request.method in {"GET", "HEAD"}:
            return _to_login(request)
        raise ProblemError(status, f"There is no {request.method} {request.url.path[:200]}")


async def _static(request: Request) -> Response:
    name = request.path_params["file"]
    if name not in STATIC:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"There is no file {name[:80]!r}")
    body, media = STATIC[name]
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, headers=headers, media_type=media)


async def _to_start(_: Request) -> Response:
    return _see(page_url("/"))


def _to_login(request: Request) -> Response:
    """Return the way to the login page, and back to this page after it."""
    if LIVE in request.query_params:
        return Response("The session has ended", HTTPStatus.UNAUTHORIZED, media_type="text/plain")
    is_page = request.method in {"GET", "HEAD"} and request.url.path != page_url("/")
    back = _with_query(request.url.path, request)
    return _see(page_url("/login", next=back if is_page else ""))


def page_path(row: PageRow, request: Request) -> str:
    """Return the path of a page that a request names, itself or by a form."""
    return page_url(re.sub(r"{(\w+)}", lambda match: request.path_params[match[1]], row.path))


def _with_query(path: str, request: Request) -> str:
    return path + (f"?{request.url.query}" if request.url.query else "")


def _check_role(admitted: Admitted, row: PageRow) -> None:
    """Check that the role of a token is enough for a page.

    Raises:
        ProblemError: 403.
    """
    grant = admitted.grant
    if not grant.role.includes(row.role):
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            f"The page {row.title} needs a token of the role {row.role}; {grant.name} has the role "
            f"{grant.role}",
        )


def _see(url: str) -> Response:
    return RedirectResponse(url, HTTPStatus.SEE_OTHER)


def _full(path: str) -> str:
    return f"/ui{path}"
