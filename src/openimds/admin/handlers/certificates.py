"""The operations on the CA certificates of attested documents."""

import asyncio

import msgspec
from msgspec import Struct
from starlette.requests import Request

from openimds.admin.operation import (
    BAD,
    OK,
    STORE,
    Answer,
    Content,
    Operation,
    QueryParameter,
    Tag,
)
from openimds.admin.problem import bad_query
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices
from openimds.errors import ConfigError
from openimds.events.log_format import Moment
from openimds.facts.confidential import Processor
from openimds.facts.generations import GENERATIONS
from openimds.facts.revocation import REASONS
from openimds.parameters import Parameter

PARTS = ("leaf", "intermediate", "root")
"""The parts of a chain that can be replaced."""
_PART = QueryParameter(
    Parameter("part", str, "The part of the chain to replace.", choices=PARTS, required=True),
    "leaf",
)
_GENERATION = QueryParameter(
    Parameter(
        "generation",
        str,
        "The generation of the new intermediate; by default that of the setting.",
        choices=tuple(GENERATIONS),
    ),
    "2023",
)

_TARGET = QueryParameter(
    Parameter("target", str, "leaf, intermediate, or a serial number.", required=True),
    "intermediate",
)
_REASON = QueryParameter(
    Parameter("reason", str, "The reason of RFC 5280.", "unspecified", choices=REASONS),
    "keyCompromise",
)

MAKERS = tuple(maker.value for maker in Processor)
_MAKER = QueryParameter(
    Parameter("of", str, "The maker of the processors.", choices=MAKERS, required=True),
    "amd",
)


class CertificateView(Struct, frozen=True, rename="camel", kw_only=True):
    """A CA certificate; those `inUse` are above the leaves that sign today."""

    subject: str
    name: str
    not_before: Moment
    not_after: Moment
    sha256: str
    is_root: bool
    in_use: bool
    pem: str


class CertificateList(Struct, frozen=True):
    """The published CA certificates, and all of them as a trust bundle (PEM)."""

    items: list[CertificateView]
    bundle: str


async def list_certificates(services: AdminServices, _: Request) -> Answer:
    """Return the CA certificates and the trust bundle."""
    return await asyncio.to_thread(_certificates, services)


class HardwareCertificates(Struct, frozen=True):
    """The CA certificates above the processors of a maker, each root behind those below it."""

    items: list[CertificateView]


async def list_hardware_certificates(services: AdminServices, request: Request) -> Answer:
    """Return the CA certificates that vouch for processors."""
    maker = _MAKER.read(request)
    infos = await asyncio.to_thread(services.credentials.hardware.certificates, maker)
    return HardwareCertificates(msgspec.convert(infos, list[CertificateView], from_attributes=True))


class CertificateStanding(Struct, frozen=True, rename="camel", kw_only=True):
    """A certificate that can be revoked; a missing `revokedAt` is a good standing.

    `issuer` is the name of the issuer's list.
    """

    serial: str
    subject: str
    issuer: str
    is_leaf: bool
    in_use: bool
    not_after: Moment
    revoked_at: Moment | None = None
    reason: str = ""


class RevocationListView(Struct, frozen=True, rename="camel", kw_only=True):
    """A served list of revoked certificates, and the number of its entries."""

    name: str
    this_update: Moment
    next_update: Moment
    revoked: int
    pem: str


class RevocationView(Struct, frozen=True):
    """The certificates that can be revoked, the served lists, and sentences on what is lacking."""

    certificates: list[CertificateStanding]
    lists: list[RevocationListView]
    lacks: list[str]


async def show_revocation(services: AdminServices, _: Request) -> Answer:
    """Return the standing of the certificates of attested documents."""
    return await asyncio.to_thread(_revocation, services)


async def revoke_certificate(services: AdminServices, request: Request) -> Answer:
    """Revoke leaves or a CA certificate, and replace them where they are in use."""
    target, reason = _TARGET.read(request), _REASON.read(request)
    now_s = services.fleet_service.utc()
    try:
        # Shielded: a caller who disconnects does not stop it half-way.
        await asyncio.shield(
            asyncio.to_thread(services.credentials.ca.revoke, target, reason, now_s)
        )
    except ConfigError as error:
        raise bad_query(error) from None
    return await asyncio.to_thread(_revocation, services)


def _revocation(services: AdminServices) -> RevocationView:
    status = services.credentials.ca.revocation_status(services.fleet_service.utc())
    return msgspec.convert(status, RevocationView, from_attributes=True)


async def rotate_certificate(services: AdminServices, request: Request) -> Answer:
    """Replace the leaf, the intermediate or the root."""
    part, generation = _PART.read(request), _GENERATION.read(request)
    if part == "leaf" and generation:
        error = ConfigError(
            "generation",
            "it, with part=leaf",
            "part=intermediate or part=root",
            "A leaf is of the generation of its intermediate",
        )
        raise bad_query(error)
    # Shielded: a caller who disconnects does not stop it half-way.
    now_s = services.fleet_service.utc()
    await asyncio.shield(asyncio.to_thread(services.credentials.ca.rotate, part, now_s, generation))
    return await asyncio.to_thread(_certificates, services)


def _certificates(services: AdminServices) -> CertificateList:
    now_s, ca = services.fleet_service.utc(), services.credentials.ca
    infos = ca.certificate_infos(now_s)
    items = msgspec.convert(infos, list[CertificateView], from_attributes=True)
    return CertificateList(items, ca.bundle(now_s).decode())


_PEM = "-----BEGIN CERTIFICATE-----\nMIIC…\n-----END CERTIFICATE-----\n"
_EXAMPLE = CertificateList(
    [
        CertificateView(
            subject="CN=OpenIMDS Intermediate CA 01,O=OpenIMDS,C=US",
            name="intermediate-1",
            not_before="2026-11-21T19:54:46+00:00",
            not_after="2027-11-22T19:54:46+00:00",
            sha256="5f1c6a0e8b0c4f57a6f0d8a3d9e2b1c47e6d5c4b3a29180706f5e4d3c2b1a090",
            is_root=False,
            in_use=True,
            pem=_PEM,
        )
    ],
    _PEM,
)

_STANDING = RevocationView(
    [
        CertificateStanding(
            serial="41002EA4C308281AABAA069A030000002EA4C3",
            subject="westeurope.metadata.azure.com",
            issuer="openimds-tls-g2-rsa-ca-ocsp-01-eced5dce",
            is_leaf=True,
            in_use=False,
            not_after="2027-05-20T19:54:46+00:00",
            revoked_at="2026-11-22T19:54:46+00:00",
            reason="keyCompromise",
        )
    ],
    [
        RevocationListView(
            name="partition/openimds-tls-g2-rsa-ca-ocsp-01-eced5dce_Partition00001.crl",
            this_update="2026-11-22T18:54:46+00:00",
            next_update="2026-12-02T18:54:46+00:00",
            revoked=1,
            pem="-----BEGIN X509 CRL-----\nMIIC…\n-----END X509 CRL-----\n",
        )
    ],
    [],
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_certificates",
        method="GET",
        path="/v1/certificates",
        tag=Tag.CERTIFICATES,
        role=Role.READ,
        summary="List the CA certificates of attested documents",
        handler=list_certificates,
        answers={OK: Content(CertificateList, _EXAMPLE)},
        problems=(STORE,),
    ),
    Operation(
        name="list_hardware_certificates",
        method="GET",
        path="/v1/certificates/hardware",
        tag=Tag.CERTIFICATES,
        role=Role.READ,
        summary="List the CA certificates that vouch for processors",
        description=(
            "Verifiers of /metadata/THIM/amd/certification and of TD quotes need the roots. The "
            "first call makes the keys; those of AMD take seconds."
        ),
        handler=list_hardware_certificates,
        answers={
            OK: Content(
                HardwareCertificates,
                HardwareCertificates(
                    [
                        msgspec.structs.replace(
                            _EXAMPLE.items[0],
                            subject=(
                                "CN=ARK-Milan,O=Advanced Micro Devices,ST=CA,L=Santa Clara,C=US,"
                                "OU=Engineering"
                            ),
                            name="ark-milan-5f1c6a0e",
                            is_root=True,
                        )
                    ]
                ),
            )
        },
        problems=(BAD, STORE),
        queries=(_MAKER,),
    ),
    Operation(
        name="rotate_certificate",
        method="POST",
        path="/v1/certificates/rotate",
        tag=Tag.CERTIFICATES,
        summary="Replace a part of the certificate chain",
        description="The replaced certificates stay published.",
        handler=rotate_certificate,
        answers={OK: Content(CertificateList, _EXAMPLE)},
        problems=(BAD, STORE),
        queries=(_PART, _GENERATION),
    ),
    Operation(
        name="show_revocation",
        method="GET",
        path="/v1/certificates/revocation",
        tag=Tag.CERTIFICATES,
        role=Role.READ,
        summary="Show the standing of certificates and the lists of revoked ones",
        handler=show_revocation,
        answers={OK: Content(RevocationView, _STANDING)},
        problems=(STORE,),
    ),
    Operation(
        name="revoke_certificate",
        method="POST",
        path="/v1/certificates/revoke",
        tag=Tag.CERTIFICATES,
        summary="Revoke leaves or a CA certificate",
        description="Those in use are replaced: the next document has a new leaf.",
        handler=revoke_certificate,
        answers={OK: Content(RevocationView, _STANDING)},
        problems=(BAD, STORE),
        queries=(_TARGET, _REASON),
    ),
)
