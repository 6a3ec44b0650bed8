"""The one rule for Host, of the admin API and the public listener.

A web page that rebinds its name (DNS rebinding) sends the Host of that name. So a request has
exactly one Host, in the syntax of RFC 9110, with a name that the listener knows.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from openimds.admin.host_header import LOOPBACK, HostHeaderError, check_name
from openimds.errors import Error

PUBLIC_NAMES = frozenset({"localhost", "host.docker.internal"})
"""Names of the public listener that need no setting; it takes every address, too."""

MoreNames = Callable[[], frozenset[str]]
"""Returns further names. It may block."""


class HostRule:
    """Knows the names by which a listener may be called."""

    def __init__(self, names: frozenset[str], *, takes_addresses: bool = False) -> None:
        """Take these names, and with `takes_addresses` every address literal."""
        self.names, self._takes_addresses = names, takes_addresses

    def check(self, request: Request) -> None:
        """Check the Host of a request.

        Raises:
            HostHeaderError: it is missing, twofold, malformed or unknown.
        """
        values = request.headers.getlist("host")
        check_name(values, self.names, takes_addresses=self._takes_addresses)


def admin_rule(names: frozenset[str]) -> HostRule:
    """Return the rule of the admin API: names of loopback, and these."""
    return HostRule(LOOPBACK | names)


class PublicHosts:
    """An ASGI application that refuses unknown Hosts before another one: 421.

    Addresses are taken: no page can rebind one, and a published port of a container is reached by
    the address of its host.
    """

    def __init__(self, application: ASGIApp, names: frozenset[str], more: MoreNames) -> None:
        """Protect an application; `more` returns the names in certificates."""
        self._application, self._more = application, more
        self._rule = HostRule(PUBLIC_NAMES | names, takes_addresses=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._check(Request(scope))
        except HostHeaderError as error:
            text = f"{error}. It answers to the host of --public-url and to addresses"
            body = msgspec.json.encode({"error": text})
            refusal = Response(body, HTTPStatus.MISDIRECTED_REQUEST, media_type="application/json")
            await refusal(scope, receive, send)
            return
        await self._application(scope, receive, send)

    async def _check(self, request: Request) -> None:
        # Clients of HTTP/1.0 that verify certificates may send none; browsers always do.
        if request.scope["http_version"] == "1.0" and not request.headers.getlist("host"):
            return
        try:
            self._rule.check(request)
        except HostHeaderError as refused:
            try:
                names = await asyncio.to_thread(self._more)
            except Error:  # The certificates cannot be read: the document's own answer says so.
                raise refused from None
            HostRule(names).check(request)
