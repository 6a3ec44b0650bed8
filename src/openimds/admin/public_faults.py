"""The public listener under faults: an application around the one that serves documents.

Without an active fault for a request the documents pass unchanged. A request that a fault delays
or hangs holds its connection, so there are at most `MAX_HELD` of them.
"""

import asyncio
from collections.abc import Callable, Collection
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openimds.admin.lazy_server import END_CONNECTION
from openimds.errors import Error
from openimds.facts.effects import PublicResource
from openimds.facts.pages import PAGES
from openimds.facts.public_faults import (
    ANSWER,
    CROSS_SIGNED,
    DAMAGED,
    EXPIRED,
    FORBIDDEN,
    HANG_S,
    HANGING,
    HTML,
    LATE,
    MAX_HELD,
    MISSING,
    STALE,
)
from openimds.facts.revocation import CRL_TYPE, MAX_OCSP_REQUEST, OCSP_TYPE
from openimds.log.events import PUBLICATION_TROUBLE
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.public_request import PublicRequest, public_request

_CERTIFICATE_TYPE = "application/pkix-cert"
_TEXTS = 64
"""How many texts of errors are remembered, to notify the operator of each once."""


class PublicFaultSource(Protocol):
    """Decides which faults are injected. Each request is counted."""

    def public_fault(self, request: PublicRequest, utc_s: float) -> Fault | None:
        """Return the fault to inject into a request at the public listener, or None."""
        ...


class TrueDocuments(Protocol):
    """The documents that faults spoil. Calls may block: they belong into a thread."""

    @property
    def prefixes(self) -> Collection[str]:
        """The paths of the public URLs."""
        ...

    def certificate(self, name: str) -> bytes | None:
        """Return the DER of a CA certificate by its name, or None."""
        ...

    def revocation_list(self, name: str) -> bytes | None:
        """Return a list of revoked certificates in DER by its path, or None."""
        ...


class SpoiltAnswers(Protocol):
    """The signed answers that are wrong on purpose; see `RehearsedAnswers`."""

    @property
    def has_unknown_root(self) -> bool:
        """Whether there may be an unknown root."""
        ...

    def certificate(self, octets: bytes, answer: str) -> bytes:
        """Return the same CA, as certified otherwise."""
        ...

    def unknown_root(self, name: str) -> bytes | None:
        """Return the DER of the unknown root by its name."""
        ...

    def stale_list(self, octets: bytes) -> bytes:
        """Return a list with the same entries that has ended."""
        ...

    def ocsp_response(self, request: bytes | str, answer: str) -> bytes:
        """Return the response to an OCSP request: DER, or the path of a GET."""
        ...


class FaultyPublicApplication:
    """The application of the public listener, with the faults that hit its requests."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that an answer can need
        self,
        application: ASGIApp,
        faults: PublicFaultSource,
        documents: TrueDocuments,
        spoilt: SpoiltAnswers,
        utc: Callable[[], float],
        notify: Callable[[str], None],
    ) -> None:
        """Serve an application; `notify` gets the text of each failure once."""
        self._application, self._faults = application, faults
        self._documents, self._spoilt, self._utc = documents, spoilt, utc
        self._notify = lru_cache(_TEXTS)(notify)
        self.held = 0
        """The requests that are delayed or hang at the moment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        asked = self._asked(scope)
        if asked is None:
            await self._application(scope, receive, send)
            return
        fault = self._faults.public_fault(asked, self._utc())
        if fault is None:
            root = await self._unknown_root(asked)
            await (root or self._application)(scope, receive, send)
            return
        body = await _read(receive)
        answer, wait_s = fault.text(ANSWER), fault.spec.delay_s
        if answer == HANGING:
            wait_s += fault.number_of("hang_s", HANG_S)
        if (wait_s and not await self._wait(wait_s, receive)) or answer == HANGING:
            await _end(scope, receive)
        elif answer == LATE:
            await self._application(scope, _replayed(body, receive), send)
        else:
            response = await self._answer(asked, answer, body)
            await (response or self._application)(scope, _replayed(body, receive), send)

    def _asked(self, scope: Scope) -> PublicRequest | None:
        if scope["type"] != "http":
            return None
        host = Request(scope).headers.get("host", "")
        return public_request(scope["method"], scope["path"], host, self._documents.prefixes)

    async def _unknown_root(self, asked: PublicRequest) -> Response | None:
        """Return the root that has cross-signed for a fault, where a verifier asks for it."""
        if asked.resource is not PublicResource.ISSUERS or not self._spoilt.has_unknown_root:
            return None
        name = asked.name.removesuffix(".crt")
        root = await asyncio.to_thread(self._spoilt.unknown_root, name)
        return Response(root, media_type=_CERTIFICATE_TYPE) if root else None

    async def _wait(self, wait_s: float, receive: Receive) -> bool:
        """Wait for some seconds; return False if the caller leaves, or too many wait already."""
        if self.held >= MAX_HELD:
            return False
        self.held += 1
        try:
            await asyncio.wait_for(_left(receive), wait_s)
        except TimeoutError:
            return True
        finally:
            self.held -= 1
        return False

    async def _answer(self, asked: PublicRequest, answer: str, body: bytes) -> Response | None:
        """Return the answer of a fault; None where there is no document to spoil."""
        if answer in _PAGES:
            return _PAGES[answer]()
        try:
            if asked.resource is PublicResource.OCSP:
                request = asked.name if asked.method == "GET" else body
                octets = await asyncio.to_thread(self._spoilt.ocsp_response, request, answer)
                return Response(octets, media_type=OCSP_TYPE)
            spoilt = await asyncio.to_thread(self._spoil, asked, answer)
            return spoilt or await self._unknown_root(asked)
        except Error as error:
            self._notify(PUBLICATION_TROUBLE.message(str(error)))
            return _page(HTTPStatus.SERVICE_UNAVAILABLE)

    def _spoil(self, asked: PublicRequest, answer: str) -> Response | None:
        """Return a spoilt certificate or list, or None if the true one does not exist."""
        if asked.resource is PublicResource.LISTS:
            octets, media = self._documents.revocation_list(asked.name), CRL_TYPE
        else:
            octets = self._documents.certificate(asked.name.removesuffix(".crt"))
            media = _CERTIFICATE_TYPE
        if octets is None:
            return None
        spoil: dict[str, Callable[[bytes], bytes]] = {
            DAMAGED: _damaged,
            STALE: self._spoilt.stale_list,
            EXPIRED: lambda true: self._spoilt.certificate(true, EXPIRED),
            CROSS_SIGNED: lambda true: self._spoilt.certificate(true, CROSS_SIGNED),
        }
        return Response(spoil[answer](octets), media_type=media)


def _damaged(octets: bytes) -> bytes:
    """Return octets whose signature, at their end, is wrong."""
    return octets[:-1] + bytes([octets[-1] ^ 1])


def _page(status: HTTPStatus) -> Response:
    text = f"<!DOCTYPE html>\n<title>{status.phrase}</title>\n<p>{status.phrase}</p>\n"
    return Response(text, status, media_type="text/html")


def _portal() -> Response:
    page = PAGES["portal-200"]
    return Response(page.body, page.status, dict(page.headers), page.media)


_PAGES: dict[str, Callable[[], Response]] = {
    MISSING: lambda: _page(HTTPStatus.NOT_FOUND),
    FORBIDDEN: lambda: _page(HTTPStatus.FORBIDDEN),
    HTML: _portal,
}
"""The answers that are the same for every document."""


async def _read(receive: Receive) -> bytes:
    """Return the body of a request; empty, which is malformed, if it is too large."""
    octets = bytearray()
    while True:
        message = await receive()
        octets += message.get("body", b"")
        if len(octets) > MAX_OCSP_REQUEST:
            return b""
        if not message.get("more_body"):
            return bytes(octets)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a receiver of a body that was read before."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def _left(receive: Receive) -> None:
    """Return when the caller has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(scope: Scope, receive: Receive) -> None:
    """End the connection without a response."""
    extensions: dict[str, Any] = scope.get("extensions") or {}
    extension = extensions.get(END_CONNECTION)
    if extension:
        extension["end"]()
        await _left(receive)
