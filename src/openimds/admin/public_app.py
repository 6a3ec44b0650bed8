"""The public documents by which a verifier checks tokens and attested documents.

The discovery documents and keys of a tenant, and the CA certificates of attested documents. There
is no token and no Host check: all of it is public, and none of it changes anything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
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
from openimds.facts.attested import ALTERNATE_PATH, ISSUERS_PATH
from openimds.facts.revocation import CRL_PATH, CRL_TYPE, MAX_OCSP_REQUEST, OCSP_PATH, OCSP_TYPE
from openimds.facts.tokens import MULTI_TENANT
from openimds.log.events import PUBLICATION_TROUBLE

_JSON = "application/json"
_WELL_KNOWN = ".well-known/openid-configuration"
_MOST_AGE_S = 300
"""How long a verifier may cache keys; an unknown kid makes it fetch them again at once."""
_TEXTS = 64
"""How many texts of errors are remembered, to notify the operator of each once."""


class PublicationSource(Protocol):
    """The documents to publish. Calls may block: they belong into a thread."""

    @property
    def prefixes(self) -> Collection[str]:
        """The paths of the public URLs, below which all documents are, too."""
        ...

    def discovery(self, tenant: str, version: str, host: str = "") -> dict[str, Any]:
        """Return a tenant's discovery document of a version for readers at a host."""
        ...

    def certificate(self, name: str) -> bytes | None:
        """Return the DER of a CA certificate by its name, or None."""
        ...

    def bundle(self) -> bytes:
        """Return the trust bundle as PEM."""
        ...

    def ocsp_response(self, request: bytes | str) -> bytes:
        """Return the response to an OCSP request: DER, or the path of a GET."""
        ...

    def revocation_list(self, name: str) -> bytes | None:
        """Return a list of revoked certificates in DER by its path, or None."""
        ...

    def keys(self, tenant: str, version: str) -> dict[str, Any]:
        """Return the public keys of a tenant as a JWK set."""
        ...


def application(publications: PublicationSource, notify: Callable[[str], None]) -> Starlette:
    """Return the application; `notify` gets the text of each failure once."""
    # A proxy may keep the path of the public URL or take it away.
    routes = [
        route for prefix in ("", *publications.prefixes) for route in _routes(publications, prefix)
    ]
    handlers = {HTTPException: _unknown, Error: _failed(lru_cache(_TEXTS)(notify))}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


def _routes(publications: PublicationSource, prefix: str) -> Iterator[Route]:
    """Yield the routes below a prefix, which is empty or begins with a slash."""
    for version, segment in (("1.0", ""), ("2.0", "v2.0/")):
        tenant = f"{prefix}/{{tenant}}"
        yield Route(f"{tenant}/{segment}{_WELL_KNOWN}", _discovery(publications, version))
        yield Route(f"{tenant}/discovery/{segment}keys", _keys(publications, version))
        yield Route(f"{tenant}/oauth2/{segment}authorize", _no_grant, methods=["GET", "POST"])
        yield Route(f"{tenant}/oauth2/{segment}token", _no_grant, methods=["POST"])
    yield Route(f"{prefix}/pki/bundle.pem", _bundle(publications))
    for path in ("/pki", ISSUERS_PATH, ALTERNATE_PATH + ISSUERS_PATH):
        yield Route(f"{prefix}{path}/{{name}}.crt", _certificate(publications))
    yield Route(f"{prefix}{OCSP_PATH}", _ocsp_post(publications), methods=["POST"])
    yield Route(f"{prefix}{OCSP_PATH}/{{request:path}}", _ocsp_get(publications))
    for base in (prefix, prefix + ALTERNATE_PATH):
        yield Route(f"{base}{CRL_PATH}/{{name:path}}", _revocation_list(publications))


def _discovery(
    publications: PublicationSource, version: str
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        tenant, host = _tenant(request), request.headers.get("host", "")
        return _public_json(await asyncio.to_thread(publications.discovery, tenant, version, host))

    return endpoint


def _keys(
    publications: PublicationSource, version: str
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return _public_json(await asyncio.to_thread(publications.keys, _tenant(request), version))

    return endpoint


async def _no_grant(request: Request) -> Response:
    """Refuse a grant as RFC 6749 (4.1.2.1 and 5.2) writes it."""
    _tenant(request)
    is_token = request.url.path.endswith("/token")
    error = "unsupported_grant_type" if is_token else "unsupported_response_type"
    text = "Tokens come from the metadata address: /metadata/identity/oauth2/token"
    body = msgspec.json.encode({"error": error, "error_description": text})
    return Response(body, HTTPStatus.BAD_REQUEST, {"Cache-Control": "no-store"}, _JSON)


def _tenant(request: Request) -> str:
    """Return the tenant in the path in lower case.

    Raises:
        HTTPException: 404, it is none.
    """
    tenant: str = request.path_params["tenant"].lower()
    if tenant not in MULTI_TENANT and not _is_guid(tenant):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return tenant


def _public_json(value: dict[str, Any]) -> Response:
    headers = {"Cache-Control": f"max-age={_MOST_AGE_S}"}
    return Response(msgspec.json.encode(value), headers=headers, media_type=_JSON)


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


def _revocation_list(publications: PublicationSource) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of the CRL addresses in certificates: one DER file.

    RFC 5280, 4.2.1.13.
    """

    async def endpoint(request: Request) -> Response:
        name = request.path_params["name"]
        body = await asyncio.to_thread(publications.revocation_list, name)
        if body is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        headers = {"Cache-Control": f"max-age={_MOST_AGE_S}"}
        return Response(body, headers=headers, media_type=CRL_TYPE)

    return endpoint


def _ocsp_get(publications: PublicationSource) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of OCSP requests in a path (RFC 6960, A.1)."""

    async def endpoint(request: Request) -> Response:
        text = request.path_params["request"]
        return _ocsp(await asyncio.to_thread(publications.ocsp_response, text))

    return endpoint


def _ocsp_post(publications: PublicationSource) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of OCSP requests in a body of bounded size."""

    async def endpoint(request: Request) -> Response:
        octets = b""
        async for piece in request.stream():
            octets += piece
            if len(octets) > MAX_OCSP_REQUEST:
                octets = b""  # Malformed, like any other body that is no request.
                break
        return _ocsp(await asyncio.to_thread(publications.ocsp_response, octets))

    return endpoint


def _ocsp(octets: bytes) -> Response:
    """Return a response; its own times say how long it is valid."""
    headers = {"Cache-Control": f"max-age={_MOST_AGE_S}"}
    return Response(octets, headers=headers, media_type=OCSP_TYPE)


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
        allow = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        verbs = ", ".join(sorted(allow.split(", ")))
        return _error(status, f"This path takes {verbs} only", {"Allow": verbs})
    return _error(
        status,
        "There is nothing at this path. A tenant's documents are at "
        f"/TENANT/{_WELL_KNOWN} and /TENANT/v2.0/{_WELL_KNOWN}, certificates at "
        f"/pki/bundle.pem and {ISSUERS_PATH}/NAME.crt, lists of revoked certificates at "
        f"{CRL_PATH}/NAME.crl",
    )


def _failed(notify: Callable[[str], None]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(_: Request, error: Exception) -> Response:
        notify(PUBLICATION_TROUBLE.message(str(error)))
        # The text of the error is for the operator: it names files of this machine.
        text = "The document cannot be read at the moment; the operator was notified of the reason"
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, text)

    return handler


def _error(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode({"error": text}), status, headers, _JSON)
