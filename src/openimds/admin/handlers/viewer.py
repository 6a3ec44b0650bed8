"""The operations that show the description of the API in a browser."""

import asyncio
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.operation import OK, Answer, Content, Operation, Tag
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices

HTML, SCRIPT = "text/html", "text/javascript"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
"""The Content-Security-Policy of the viewer: it runs no inline script, and calls nobody else.

RapiDoc writes style attributes into its shadow tree, which is the reason of 'unsafe-inline'.
"""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_VIEWER = "openimds.admin.viewer"


async def show_docs(_: AdminServices, __: Request) -> Answer:
    """Return the page of the viewer."""
    return await _file("index.html", HTML)


async def get_docs_script(_: AdminServices, __: Request) -> Answer:
    """Return the script of the viewer."""
    return await _file("rapidoc-min.js", SCRIPT)


async def _file(name: str, media: str) -> Response:
    """Return a file of the viewer, which is read at each request: they are few."""
    body = await asyncio.to_thread((files(_VIEWER) / name).read_bytes)
    return Response(body, headers=_HEADERS, media_type=media)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="show_docs",
        method="GET",
        path="/docs",
        tag=Tag.SERVER,
        role=Role.READ,
        summary="Show this description in a browser",
        description="The page loads nothing from elsewhere.",
        handler=show_docs,
        answers={OK: Content(str, "<!doctype html>…", (HTML,))},
        is_open_on_loopback=True,
    ),
    Operation(
        name="get_docs_script",
        method="GET",
        path="/docs/rapidoc-min.js",
        tag=Tag.SERVER,
        role=Role.READ,
        summary="Return the script of that page",
        handler=get_docs_script,
        answers={OK: Content(str, "/*! RapiDoc …", (SCRIPT,))},
        is_open_on_loopback=True,
    ),
)
