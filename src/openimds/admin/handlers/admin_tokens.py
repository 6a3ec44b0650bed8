"""The operations on the tokens of the admin API."""

import asyncio

import msgspec.json
from msgspec import Struct, structs
from msgspec.structs import asdict
from starlette.requests import Request
from starlette.responses import Response

from openimds.admin.auth import body_of, own_end
from openimds.admin.input_types import object_type
from openimds.admin.made_token import MadeToken, time_of
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
    Answer,
    Content,
    Operation,
    PathParameter,
    Tag,
)
from openimds.admin.pages import CURSOR, LIMIT, Page, named_page
from openimds.admin.roles import Role, caller
from openimds.admin.services import AdminServices
from openimds.admin.token_registry import TokenRegistry
from openimds.admin.token_scope import BOUND_ROLES, check_bound_role
from openimds.events.log_format import Moment
from openimds.parameters import Parameter, read_fields
from openimds.vm.decode import decode
from openimds.vm.selector import EXAMPLE, LONGEST

SHORTEST_LIFE_S = 60
LONGEST_LIFE_S = 3650 * 86_400
LONGEST_OVERLAP_S = 90 * 86_400
_LIFE = Parameter(
    "life_s",
    float,
    "The seconds for which a secret is valid. A new token without it is valid until revoked; "
    "a rotated one keeps that of before.",
    minimum=SHORTEST_LIFE_S,
    maximum=LONGEST_LIFE_S,
    metavar="SECONDS",
)
TOKEN_ROWS: tuple[Parameter, ...] = (
    Parameter("name", str, "A name for lists and the audit log.", minimum=1, required=True),
    Parameter(
        "role",
        str,
        "The operations that the token is for.",
        choices=tuple(role.value for role in Role),
        required=True,
        metavar="ROLE",
    ),
    _LIFE,
    Parameter(
        "select",
        str,
        f"The token is for the VMs of this selector alone, such as `{EXAMPLE}`; for the roles "
        f"{' and '.join(BOUND_ROLES)}.",
        minimum=1,
        maximum=LONGEST,
        metavar="SELECTOR",
    ),
)
ROTATION_ROWS: tuple[Parameter, ...] = (
    Parameter(
        "overlap_s",
        float,
        "The seconds for which the secret before stays valid, too.",
        0,
        minimum=0,
        maximum=LONGEST_OVERLAP_S,
        metavar="SECONDS",
    ),
    _LIFE,
)
AdminTokenInput = object_type("AdminTokenInput", TOKEN_ROWS)
TokenRotation = object_type("TokenRotation", ROTATION_ROWS)


class AdminTokenView(Struct, frozen=True, rename="camel", kw_only=True):
    """A token of the admin API, without its secret.

    `by` made it at the time `made`, and it was rotated last at `rotated`. It has `expired` at
    `expires`; null is never. `formerUntil` is the end of the secret before a rotation, null when
    that has ended. `lastUsed` is null before the first use. `select` is the selector of its VMs;
    empty is all.
    """

    name: str
    role: Role
    made: Moment
    by: str
    expires: Moment | None
    expired: bool
    last_used: Moment | None
    rotated: Moment | None
    former_until: Moment | None
    select: str


class NewAdminToken(AdminTokenView, frozen=True, rename="camel", kw_only=True):
    """A new token, with the text that is shown only now."""

    token: str


class AdminTokenPage(Page[AdminTokenView], frozen=True):
    """A page of the tokens of the admin API."""


async def list_tokens(services: AdminServices, request: Request) -> Answer:
    """List the tokens by name, in pages."""
    tokens = await services.tokens.all()
    shown, cursor = named_page(request, lambda: tokens)
    return AdminTokenPage([_view(services.tokens, token) for token in shown], cursor)


async def add_token(services: AdminServices, request: Request) -> Answer:
    """Make a token, and return its text once."""
    wanted = read_fields(TOKEN_ROWS, decode(await body_of(request), "body.json"))
    role, select = Role(wanted["role"]), wanted.get("select", "")
    check_bound_role(role, select)
    work = services.tokens.add(wanted["name"], role, caller(request), wanted.get("life_s"), select)
    made, text = await asyncio.shield(work)
    return _new(services.tokens, made, text, CREATED)


async def renew_token(services: AdminServices, request: Request) -> Answer:
    """Give a token a new secret, and return that once."""
    body = await body_of(request)
    wanted = read_fields(ROTATION_ROWS, decode(body, "body.json") if body else {})
    name, life_s = request.path_params["name"], wanted.get("life_s")
    work = services.tokens.rotate(name, wanted["overlap_s"], life_s, own_end(request))
    # Shielded: also without the caller, the connections of the secret before end.
    made, text = await asyncio.shield(work)
    return _new(services.tokens, made, text, OK)


async def revoke_token(services: AdminServices, request: Request) -> Answer:
    """End a token, and the connections that showed it."""
    await asyncio.shield(services.tokens.revoke(request.path_params["name"], own_end(request)))
    return None


def _view(tokens: TokenRegistry, token: MadeToken) -> AdminTokenView:
    former_s = tokens.former_ends_s(token)
    return AdminTokenView(
        name=token.name,
        role=token.role,
        made=token.made,
        by=token.by,
        expires=None if token.ends_s is None else time_of(token.ends_s),
        expired=tokens.is_expired(token),
        last_used=tokens.last_used(token),
        rotated=token.rotated,
        former_until=None if former_s is None else time_of(former_s),
        select=token.select,
    )


def _new(tokens: TokenRegistry, token: MadeToken, text: str, status: int) -> Response:
    """Return the answer with the text of a token; no cache keeps it."""
    made = NewAdminToken(**asdict(_view(tokens, token)), token=text)
    return Response(msgspec.json.encode(made), status, {"Cache-Control": "no-store"}, JSON)


_MADE = "2026-11-22T19:54:46.000+00:00"
_VIEW = AdminTokenView(
    name="ci",
    role=Role.OPERATE,
    made=_MADE,
    by="api 127.0.0.1 token:local",
    expires="2027-02-20T19:54:46.000+00:00",
    expired=False,
    last_used=None,
    rotated=None,
    former_until=None,
    select="tag=team:web",
)
_TEXT = "4vWcdm7VjXkO2c1n5wq0ZsHk3l9pYtRr8uEaBgFhJ0M"
_ROTATED = NewAdminToken(**asdict(_VIEW), token=_TEXT)
_NEW = structs.replace(_ROTATED, name="dashboard", role=Role.READ)
_ROTATED = structs.replace(_ROTATED, rotated=_MADE, former_until="2026-11-22T20:54:46.000+00:00")
_TAKES = Content(
    AdminTokenInput,
    {"name": "dashboard", "role": "read", "lifeS": 90 * 86_400, "select": "tag=team:web"},
)

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="list_tokens",
        method="GET",
        path="/v1/tokens",
        tag=Tag.ACCESS,
        summary="List the tokens of this API by name",
        description="The token in the token file is not one of them. Expired ones are listed for "
        "30 days.",
        handler=list_tokens,
        answers={OK: Content(AdminTokenPage, AdminTokenPage([_VIEW], None))},
        problems=(BAD, STORE),
        queries=(LIMIT, CURSOR),
    ),
    Operation(
        name="add_token",
        method="POST",
        path="/v1/tokens",
        tag=Tag.ACCESS,
        summary="Make a token of this API",
        description="The answer has its text, which is shown only this once: the store has a hash.",
        handler=add_token,
        answers={CREATED: Content(NewAdminToken, _NEW)},
        problems=(BAD, CONFLICT, LARGE, SLOW, TYPE, UNFIT, STORE),
        takes=_TAKES,
    ),
    Operation(
        name="renew_token",
        method="POST",
        path="/v1/tokens/{name}/rotate",
        tag=Tag.ACCESS,
        summary="Give a token of this API a new secret",
        description="The answer has it, only this once. The secret before stays valid for "
        "`overlapS` seconds, so that its users can change over; one from an earlier rotation ends "
        "at once, with the connections that showed it.",
        handler=renew_token,
        answers={OK: Content(NewAdminToken, _ROTATED)},
        problems=(BAD, NONE, LARGE, SLOW, TYPE, UNFIT, STORE),
        parameter=PathParameter("name", "Name of a token.", "ci"),
        takes=Content(TokenRotation, {"overlapS": 3600}),
    ),
    Operation(
        name="revoke_token",
        method="DELETE",
        path="/v1/tokens/{name}",
        tag=Tag.ACCESS,
        summary="End a token of this API",
        description="Connections that showed it end at once, feeds among them.",
        handler=revoke_token,
        answers={GONE: None},
        problems=(NONE, STORE),
        parameter=PathParameter("name", "Name of a token.", "ci"),
    ),
)
