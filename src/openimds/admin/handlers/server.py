"""The operations on the server itself: its token, its health, its metrics, its description."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec.json
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import own_end
from openimds.admin.metrics import FINDINGS, exposition, exposition_for
from openimds.admin.openapi import INFO, OPENAPI_VERSION
from openimds.admin.operation import JSON, OK, STORE, Answer, Content, Operation, Tag
from openimds.admin.roles import Role
from openimds.admin.services import AdminServices
from openimds.fleet.quarantine import MOST_DETAILED, summary
from openimds.fleet.store.port import StoreError


class TokenFile(Struct, frozen=True, rename="camel"):
    """The file that holds the admin token."""

    token_file: str


class Health(Struct, frozen=True):
    """The health of the server."""

    status: str


class Readiness(Struct, frozen=True):
    """The readiness of the server: `ready`, or `degraded` while changes are refused.

    `quarantined` is the number of stored VMs that are not served. `detail` has their names, and the
    reason why changes are refused.
    """

    status: str
    quarantined: int | UnsetType = UNSET
    detail: str | UnsetType = UNSET


async def rotate_token(services: AdminServices, request: Request) -> Answer:
    """Write a new token into its file; end connections of the old one."""
    # First: the next request, too, ends the connections as soon as it finds the new file.
    services.token.spare(own_end(request))
    await asyncio.to_thread(services.token.rotate)
    services.token.end_replaced()
    return TokenFile(str(services.token.path))


async def get_health(_: AdminServices, __: Request) -> Answer:
    """Return ok while the process runs."""
    return Health("ok")


async def get_readiness(services: AdminServices, _: Request) -> Answer:
    """Return ready, or degraded: guests are served, but changes are refused."""
    await services.check_host()
    fleet_service = services.fleet_service
    try:
        await fleet_service.call_store(fleet_service.store.revision)
        problem = await fleet_service.call_store(fleet_service.store.problem)
    except StoreError as error:
        problem = str(error)
    quarantine = fleet_service.fleet_index.quarantine
    details = [problem] if problem else []
    if quarantine:
        details.append(summary(quarantine))
    return Readiness(
        "degraded" if problem else "ready",
        len(quarantine) or UNSET,
        "; ".join(details) or UNSET,
    )


async def get_metrics(services: AdminServices, request: Request) -> Answer:
    """Return the metrics."""
    samples = {**await services.metrics.samples(), FINDINGS: await services.recording.findings()}
    # Thousands of hosts take long. Copies, because the parts of the server count on meanwhile.
    copies = {name: {**one} if isinstance(one, Mapping) else one for name, one in samples.items()}
    accept = request.headers.get("accept", "")
    text = await asyncio.to_thread(exposition_for, copies, accept)
    return Response(text.body, media_type=text.media)


async def get_openapi(_: AdminServices, request: Request) -> Answer:
    """Return the description of the API; its server is the URL of the request.

    The application makes the rest of all its operations, once.
    """
    url = f"{request.url.scheme}://{request.headers['host'].strip()}"
    servers = msgspec.json.encode({"servers": [{"url": url}]})
    return Response(servers[:-1] + b"," + request.app.state.openapi()[1:], media_type=JSON)


def _metrics() -> str:
    return exposition({"openimds_vms": 2}).decode()


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="rotate_token",
        method="POST",
        path="/v1/token",
        tag=Tag.SERVER,
        summary="Make a new admin token",
        description="The token file holds it. The token of this request ends, with the other "
        "connections that showed it, feeds among them.",
        handler=rotate_token,
        answers={OK: Content(TokenFile, TokenFile("/var/lib/openimds/admin-token"))},
        problems=(STORE,),
    ),
    Operation(
        name="get_health",
        method="GET",
        path="/healthz",
        tag=Tag.SERVER,
        summary="Tell whether the process runs",
        handler=get_health,
        answers={OK: Content(Health, Health("ok"))},
        is_open=True,
    ),
    Operation(
        name="get_readiness",
        method="GET",
        path="/readyz",
        tag=Tag.SERVER,
        summary="Tell whether guests are served and changes can be written",
        handler=get_readiness,
        description="`degraded` means that guests are served, but changes are refused, because the "
        "disk is full, read-only or damaged; the detail has the reason. It also names stored VMs "
        f"whose row cannot be taken, at most {MOST_DETAILED}; everybody else is served. "
        "`GET /v1/vms` has the reasons.",
        answers={OK: Content(Readiness, Readiness("ready"))},
        is_open=True,
    ),
    Operation(
        name="get_metrics",
        method="GET",
        path="/metrics",
        tag=Tag.SERVER,
        role=Role.READ,
        summary="Return the metrics in Prometheus' text format",
        handler=get_metrics,
        answers={OK: Content(str, _metrics, ("text/plain",))},
        is_open_on_loopback=True,
    ),
    Operation(
        name="get_openapi",
        method="GET",
        path="/openapi.json",
        tag=Tag.SERVER,
        role=Role.READ,
        summary="Return this description",
        handler=get_openapi,
        answers={
            OK: Content(
                dict[str, Any],
                {
                    "servers": [{"url": "http://127.0.0.1:8170"}],
                    "openapi": OPENAPI_VERSION,
                    "info": INFO,
                    "tags": [],
                    "paths": {},
                    "components": {},
                },
            )
        },
        is_open_on_loopback=True,
    ),
)
