"""The page's application, loaded at the first request below /ui/."""

import asyncio
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openimds.admin.services import AdminServices

if TYPE_CHECKING:
    from openimds.admin.auth import Authenticator

PAGE_PATHS = ("/ui", "/ui/{rest:path}")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # With no-referrer a browser sends `Origin: null` with a form, even to its own site.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every response below /ui/."""
_NO_STORE = (b"cache-control", b"no-store")


class LazyPage:
    """An ASGI application that loads the page, and adds its headers to every response."""

    def __init__(self, services: AdminServices, authenticator: "Authenticator") -> None:
        """Load nothing yet."""
        self._services, self._authenticator = services, authenticator
        self._application: ASGIApp | None = None
        self._turn: asyncio.Lock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"] = [*message.get("headers", ())]
                known = {name.lower() for name, _ in headers}
                if _NO_STORE[0] not in known:
                    headers.append(_NO_STORE)
                headers += [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
            await send(message)

        application = self._application or await self._load()
        await application(scope, receive, send_protected)

    async def _load(self) -> ASGIApp:
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            if self._application is None:
                # In a thread: guests do not wait for the template engine.
                self._application = await asyncio.to_thread(self._make)
            return self._application

    def _make(self) -> ASGIApp:
        from openimds.admin.page.app import page_application  # noqa: PLC0415 - as the class says

        return page_application(self._services, self._authenticator)
