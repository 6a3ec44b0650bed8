"""The operations on the certificates of attested documents."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Protocol

import msgspec.json
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.operations import PARTS
from openimds.admin.problem import ProblemError
from openimds.fleet.service import FleetService


class CertificateSource(Protocol):
    """The certificates above those that sign. It may take a while: it is called in threads."""

    def certificate_infos(self, now_s: float) -> Sequence[object]:
        """Return what is known of those that are published, those in use first."""
        ...

    def bundle(self, now_s: float) -> bytes:
        """Return the trust bundle as PEM."""
        ...

    def rotate(self, part: str, now_s: float) -> None:
        """Replace the leaf, the intermediate or the root."""
        ...


class CertificateHandlers:
    """The handlers that show certificates and replace them."""

    def __init__(self, fleet_service: FleetService, certificates: CertificateSource) -> None:
        """Show these certificates."""
        self._fleet_service, self._certificates = fleet_service, certificates

    async def list_certificates(self, _: Request) -> Response:
        """Show the CA certificates, and all of them as a trust bundle."""
        return await asyncio.to_thread(self._shown)

    async def rotate_certificate(self, request: Request) -> Response:
        """Replace the leaf, the intermediate or the root."""
        part = request.query_params.get("part", "")
        if part not in PARTS:
            detail = f'part: saw "{part}", expected one of {", ".join(PARTS)}'
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
        # Begun is done: a caller who goes away does not stop it half-way.
        work = asyncio.to_thread(self._certificates.rotate, part, self._fleet_service.utc())
        await asyncio.shield(work)
        return await asyncio.to_thread(self._shown)

    def _shown(self) -> Response:
        now_s = self._fleet_service.utc()
        body = {
            "items": self._certificates.certificate_infos(now_s),
            "bundle": self._certificates.bundle(now_s).decode(),
        }
        return Response(msgspec.json.encode(body), media_type="application/json")
