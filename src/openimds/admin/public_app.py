"""The public documents by which a verifier checks tokens and attested documents.

The discovery documents and keys of a tenant, and the CA certificates of attested documents. There
is no token and no Host check: all of it is public, and none of it changes anything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol
from uuid import UUID

import msgspec.json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from openimds.errors import Error

_JSON = "application/json"
_WELL_KNOWN = ".well-known/openid-configuration"
_MOST_AGE_S = 300
"""How long a verifier may cache keys; an unknown kid makes it fetch them again at once."""
_TEXTS = 64
"""How many texts of errors are remembered, to notify the operator of each once."""


class PublicationSource(Protocol):
    """The documents to publish. Calls may block: they belong into a thread."""

    def discovery(self, tenant: str, version: str) -> dict[str, Any]:
        """Return the discovery document of a tenant's tokens of a version."""
        ...

    def certificate(self, name: str) -> bytes | None:
        """Return the DER of a CA certificate by its name, or None."""
        ...

    def bundle(self) -> bytes:
        """Return the trust bundle as PEM."""
        ...

    def keys(self, tenant: str, version: str) -> dict[str, Any]:
        """Return the public keys of a tenant as a JWK set."""
        ...


def application(publications: PublicationSource, notify: Callable[[str], None]) -> Starlette:
    """Return the application; `notify` gets the text of each failure once."""
    routes = []
    for version, prefix in (("1.0", ""), ("2.0", "v2.0/")):
        routes += [
            Route(
                f"/{{tenant}}/{prefix}{_WELL_KNOWN}",
                _json_document(publications.discovery, version),
            ),
            Route(
                f"/{{tenant}}/discovery/{prefix}keys", _json_document(publications.keys, version)
            ),
        ]
    routes += [
        Route("/pki/bundle.pem", _bundle(publications)),
        Route("/pki/{name}.crt", _certificate(publications)),
    ]
    handlers = {HTTPException: _unknown, Error: _failed(lru_cache(_TEXTS)(notify))}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def _json_document(
    make: Callable[[str, str], dict[str, Any]], version: str
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        tenant = request.path_params["tenant"].lower()
        if not _is_guid(tenant):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        body = msgspec.json.encode(await asyncio.to_thread(make, tenant, version))
        return Response(body, headers={"Cache-Control": f"max-age={_MOST_AGE_S}"}, media_type=_JSON)

    return endpoint


def _certificate(publications: PublicationSource) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of the CA Issuers URL in a leaf: one DER file.

    RFC 5280, 4.2.2.1.
    """

    async def endpoint(request: Request) -> Response:
        name = request.path_params["name"]
        body = await asyncio.to_thread(publications.certificate, name)
        if body is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return Response(body, media_type="application/pkix-cert")

    return endpoint


def _bundle(publications: PublicationSource) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        body = await asyncio.to_thread(publications.bundle)
        return Response(body, media_type="application/x-pem-file")

    return endpoint


def _is_guid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


async def _unknown(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        text = "This server is read-only: use GET or HEAD"
        return _error(status, text, {"Allow": "GET, HEAD"})
    return _error(
        status,
        "There is nothing at this path. A tenant's documents are at "
        f"/TENANT/{_WELL_KNOWN} and /TENANT/v2.0/{_WELL_KNOWN}, certificates at "
        "/pki/bundle.pem and /pki/NAME.crt",
    )


def _failed(notify: Callable[[str], None]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(_: Request, error: Exception) -> Response:
        notify(str(error))
        # The text of the error is for the operator: it names files of this machine.
        text = "The document cannot be read at the moment; the operator was notified of the reason"
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, text)

    return handler


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode({"error": text}), status, headers, _JSON)
