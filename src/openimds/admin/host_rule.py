"""The one rule for Host, of the admin API and the public listener.

A web page that rebinds its name (DNS rebinding) sends the Host of that name. So a request has
exactly one Host, in the syntax of RFC 9110, with a name that the listener knows.
"""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from openimds.errors import Error

_HOST = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<four>[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
    r"|(?P<name>[A-Za-z0-9_.-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_LARGEST_PORT = 65535
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_SHOWN = 80
PUBLIC_NAMES = frozenset({"localhost", "host.docker.internal"})
"""Names of the public listener that need no setting; it takes every address, too."""

MoreNames = Callable[[], frozenset[str]]
"""Returns further names. It may block."""


class HostHeaderError(Exception):
    """Raised for a Host that the rule refuses; its text names the fault."""


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
        name, is_address = _name_of(request)
        if name not in self.names and not (is_address and self._takes_addresses):
            raise HostHeaderError(f'Host "{name}" is not a name of this server')


def admin_rule(names: frozenset[str]) -> HostRule:
    """Return the rule of the admin API: names of loopback, and these."""
    return HostRule(_LOOPBACK | names)


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


def _name_of(request: Request) -> tuple[str, bool]:
    """Return the name in Host in lower case, and whether it is an address.

    Raises:
        HostHeaderError: there is none, or more than one, or it is malformed.
    """
    values = request.headers.getlist("host")
    if len(values) != 1:
        raise HostHeaderError(f"The request has {len(values) or 'no'} Host headers, expected one")
    text = values[0].strip(" \t")
    found = _HOST.fullmatch(text)
    if not found or int(found["port"] or 0) > _LARGEST_PORT:
        raise HostHeaderError(f'Host "{text[:_LONGEST_SHOWN]}" is not HOST or HOST:PORT')
    address = found["six"] or found["four"]
    return (address or found["name"]).lower(), bool(address)
