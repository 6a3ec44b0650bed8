"""The operations on the hosts of a fleet of hosts."""

from http import HTTPStatus

import msgspec.json
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of
from openimds.admin.input_types import object_type
from openimds.admin.operation import (
    BAD,
    CONFLICT,
    CREATED,
    GONE,
    JSON,
    LARGE,
    NONE,
    OK,
    SLOW,
    STORE,
    TYPE,
    UNFIT,
    VM_NAME,
    Answer,
    Content,
    Operation,
    PathParameter,
    Tag,
)
from openimds.admin.pages import CURSOR, LIMIT, Page, named_page
from openimds.admin.problem import ProblemError, no_vm
from openimds.admin.roles import Role, is_admin
from openimds.admin.services import AdminServices, HostsAdmin, HostStanding
from openimds.errors import ConfigError
from openimds.parameters import Parameter, read_fields
from openimds.vm.decode import decode

HOST_ROWS: tuple[Parameter, ...] = (
    Parameter("name", str, "Its name, in the form of a VM's.", minimum=1, required=True),
)
HostInput = object_type("HostInput", HOST_ROWS)


class HostPage(Page[HostStanding], frozen=True):
    """A page of hosts."""


class JoinTokenView(Struct, frozen=True):
    """A join token, which is shown only this once."""

    name: str
    token: str


class PlacementView(Struct, frozen=True, rename="camel"):
    """The hosts of a VM; `lacking` are those without its newest state."""

    host: str
    next_host: str
    lacking: list[str]


def _hosts(services: AdminServices) -> HostsAdmin:
    """Return the hosts of a control of many hosts.

    Raises:
        ProblemError: this server is none.
    """
    if services.hosts is None:
        detail = "This server has one host: itself. openimds control run decides for many"
        raise ProblemError(HTTPStatus.CONFLICT, detail)
    return services.hosts


async def list_hosts(services: AdminServices, request: Request) -> Answer:
    """List the hosts by name, in pages."""
    return HostPage(*named_page(request, lambda: _hosts(services).standings()))


async def add_host(services: AdminServices, request: Request) -> Answer:
    """Make a join token for a host, and return it once."""
    wanted = read_fields(HOST_ROWS, decode(await body_of(request), "body.json"))
    token = await _hosts(services).invite(wanted["name"], is_admin=is_admin(request))
    body = msgspec.json.encode(JoinTokenView(wanted["name"], token))
    # No cache may keep a token.
    return Response(body, CREATED, {"Cache-Control": "no-store"}, JSON)


async def revoke_host(services: AdminServices, request: Request) -> Answer:
    """End the certificates, the join token and the connection of a host."""
    try:
        await _hosts(services).revoke(request.path_params["name"])
    except ConfigError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None
    return None


async def get_placement(services: AdminServices, request: Request) -> Answer:
    """Return the hosts of a VM, and whether they show its newest state."""
    name, hosts = request.path_params["name"], _hosts(services)
    index = services.fleet_service.fleet_index
    entry = index.by_name.get(name)
    if entry is None:
        raise no_vm(name, index.reason_of(name))
    return PlacementView(entry.vm.host, entry.vm.next_host, hosts.lacking(name))


_STANDING = HostStanding(
    name="host-1",
    state="joined",
    vms=12,
    is_connected=True,
    is_settled=True,
    revision=4711,
    release="0.2.0",
    silent_s=1.5,
    unshown_vms=0,
    unshown_scopes=0,
    unshown_age_s=0.0,
    sent_vms=3,
    refused={},
    leaf_failure="",
    join_token_reuses=0,
    invited_s=1795377286.0,
    joined_s=1795377290.0,
    certificate_ends_s=1795982090.0,
)
_TOKEN = JoinTokenView("host-1", "openimds-join-1.host-1.c2VjcmV0.0a1b2c.4d5e6f70")
_HOST_NAME = PathParameter("name", "Name of a host.", "host-1")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_hosts",
        method="GET",
        path="/v1/hosts",
        tag=Tag.HOSTS,
        role=Role.READ,
        summary="List hosts by name, with what each shows",
        handler=list_hosts,
        answers={OK: Content(HostPage, HostPage([_STANDING], None))},
        problems=(BAD, CONFLICT),
        queries=(LIMIT, CURSOR),
    ),
    Operation(
        name="add_host",
        method="POST",
        path="/v1/hosts",
        tag=Tag.HOSTS,
        role=Role.ENROL,
        summary="Make a join token for a host",
        description="The token is for one host and one use within 15 minutes. It is shown only "
        "this once: the store has a hash.",
        handler=add_host,
        answers={CREATED: Content(JoinTokenView, _TOKEN)},
        problems=(BAD, CONFLICT, LARGE, SLOW, TYPE, UNFIT, STORE),
        takes=Content(HostInput, {"name": "host-1"}),
    ),
    Operation(
        name="revoke_host",
        method="DELETE",
        path="/v1/hosts/{name}",
        tag=Tag.HOSTS,
        summary="End the certificates and the connection of a host",
        description="Its VMs stay placed on it, and it serves them on without control until it "
        "ends; move them to another host.",
        handler=revoke_host,
        answers={GONE: None},
        problems=(NONE, CONFLICT, STORE),
        parameter=_HOST_NAME,
    ),
    Operation(
        name="get_placement",
        method="GET",
        path="/v1/vms/{name}/placement",
        tag=Tag.HOSTS,
        role=Role.READ,
        summary="Return the hosts of a VM",
        description="`lacking` are those that do not show its newest state yet: a VM may resume on "
        "its next host once that is not among them.",
        handler=get_placement,
        answers={OK: Content(PlacementView, PlacementView("host-1", "host-2", ["host-2"]))},
        problems=(NONE, CONFLICT),
        parameter=VM_NAME,
    ),
)
