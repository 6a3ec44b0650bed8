"""The roles of tokens, and the caller that a token stands for."""

from enum import StrEnum

from msgspec import Struct
from starlette.requests import Request

GRANT = "openimds.grant"
"""The member of a request's scope with the grant of its token."""


class Role(StrEnum):
    """A role of a token. The first three include those before them, and `admin` all."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"
    ENROL = "enrol"
    """Invites new hosts, and nothing else."""

    def includes(self, needed: "Role") -> bool:
        """Tell whether a token of this role may do what needs another one."""
        return needed in _INCLUDED[self]


_INCLUDED = {
    Role.READ: {Role.READ},
    Role.OPERATE: {Role.READ, Role.OPERATE},
    Role.ADMIN: {*Role},
    Role.ENROL: {Role.ENROL},
}
FILE_TOKEN = "local"  # noqa: S105 - a name
"""The name of the token in the token file, whose role is `admin`."""


class TokenGrant(Struct, frozen=True):
    """A token's name and role, and the selector of its VMs, or nothing."""

    name: str
    role: Role
    select: str = ""


def is_admin(request: Request) -> bool:
    """Tell whether the token of a request has the role `admin`."""
    grant: TokenGrant = request.scope[GRANT]
    return grant.role is Role.ADMIN


def caller(request: Request) -> str:
    """Return the caller for the audit log: its address, and the name of its token."""
    address = request.client.host if request.client else "socket"
    grant: TokenGrant = request.scope[GRANT]
    return f"api {address} token:{grant.name}"
