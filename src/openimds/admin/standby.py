"""The admin API of a control that may lead or stand by."""

from collections.abc import Callable
from html import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from openimds.admin.host_header import HostHeaderError
from openimds.admin.host_rule import admin_rule
from openimds.admin.metrics import CONTROL_LEADS, MEDIA_OF_METRICS, exposition
from openimds.admin.problem import MEDIA, ProblemDetails, encode

_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
Standing = Callable[[], tuple[str, str]]
"""Returns why this control does not lead, and the URL of the one that does."""
_HEALTH, _METRICS, _PAGE = "/healthz", "/metrics", "/ui"
_BODY = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Standing by</title></head>
<body><main><h1>Standing by</h1>
<p>This control does not lead: {reason}.</p>
<p>{where}</p>
</main></body></html>
"""


class StandbySwitch:
    """The application of the leader; before, an answer that names who leads."""

    def __init__(self, standing: Standing, names: frozenset[str] = frozenset()) -> None:
        """Begin without an application, under these host names beside those of loopback."""
        self.application: ASGIApp | None = None
        self._standing, self._rule = standing, admin_rule(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self.application is not None:
            await self.application(scope, receive, send)
            return
        if scope["type"] == "http":
            await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> ASGIApp:
        path = request.url.path
        try:
            self._rule.check(request)
        except HostHeaderError as error:
            refusal = ProblemDetails("Misdirected Request", 421, str(error))
            return Response(encode(refusal), refusal.status, {"Connection": "close"}, MEDIA)
        if path == _HEALTH:
            return JSONResponse({"status": "ok"})
        if path == _METRICS:
            # No secret, as that it stands by is none.
            return Response(exposition({CONTROL_LEADS: 0}), media_type=MEDIA_OF_METRICS)
        reason, url = self._standing()
        if path == _PAGE or path.startswith(f"{_PAGE}/"):
            return _page(reason, url)
        where = f"; ask the control that leads, at {url}" if url else "; try again in a second"
        problem = ProblemDetails("Standing by", 503, f"This control does not lead: {reason}{where}")
        return Response(encode(problem), problem.status, {"Retry-After": "1"}, MEDIA)


def _page(reason: str, url: str) -> ASGIApp:
    """Return the answer below /ui/, with a link to the leader's page."""
    where = "Load this page again in a second."
    if url.startswith(("http://", "https://")):
        where = f'<a href="{escape(url)}/ui/">Go to the control that leads</a>'
    text = _BODY.format(reason=escape(reason), where=where)
    headers = {"Retry-After": "1", "Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
    return Response(text, 503, headers, "text/html")
