"""The members of a VM that only the role `admin` reads, or writes.

Secrets are shown to `admin` alone. The other members here decide which VM a caller is, and what it
can prove: by them a token that may only operate could take the identity of another VM.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec.json
from starlette.requests import Request

from openimds.admin.problem import ProblemError
from openimds.admin.roles import is_admin
from openimds.facts.redaction import SECRET_MEMBERS
from openimds.fleet.service import FleetService

DECIDING = (
    "attested",
    "classic",
    "cloud",
    "compute.licenseType",
    "compute.location",
    "compute.name",
    "compute.plan",
    "compute.resourceGroupName",
    "compute.resourceId",
    "compute.sku",
    "compute.subscriptionId",
    "compute.vmId",
    "compute.vmScaleSetName",
    "host",
    "kind",
    "network",
    "nextHost",
)
"""Members that everybody reads, and only `admin` writes.

The location is the region in the name of the leaf that signs a VM's attested documents.
"""
REDACTED = "redacted"
"""The member with the names of the members that a reader does not see."""
REDACTED_HEADER = "OpenIMDS-Redacted"
"""The header with these names beside a body that is a document of Azure's."""


def without_secrets(members: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a VM without its secret members, and the paths of those that it has."""
    left = dict(members)
    hidden: list[str] = []
    for path in SECRET_MEMBERS:
        group, _, name = path.rpartition(".")
        if not group:
            if path in left:
                del left[path]
                hidden.append(path)
        elif isinstance(inner := left.get(group), dict) and name in inner:
            left[group] = {key: value for key, value in inner.items() if key != name}
            hidden.append(path)
    return left, hidden


def redacted(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return a VM without its secret members, and their paths in `redacted`."""
    left, hidden = without_secrets(members)
    return {**left, REDACTED: hidden} if hidden else left


def first_guarded(members: Mapping[str, Any]) -> str:
    """Return the path of the first guarded member of a body, or nothing.

    A group that is no object, such as null in a patch, is one as a whole.
    """
    for path in sorted((*SECRET_MEMBERS, *DECIDING)):
        group, _, name = path.rpartition(".")
        if not group:
            if path in members:
                return path
        elif group in members:
            inner = members[group]
            if not isinstance(inner, dict):
                return group
            if name in inner:
                return path
    return ""


def check_unguarded(members: Mapping[str, object]) -> None:
    """Check that a body has no member that needs the role `admin` to write.

    Raises:
        ProblemError: 403, it has one.
    """
    if path := first_guarded(members):
        raise _forbidden(f"{path}: only a token of the role admin writes this member; leave it out")


def check_may_remove(request: Request, name: str) -> None:
    """Check that the token of a request removes VMs.

    Raises:
        ProblemError: 403, its role is below `admin`.
    """
    if not is_admin(request):
        raise _forbidden(f"{name}: null removes the VM, which needs a token of the role admin")


async def replaceable_revision(fleet_service: FleetService, name: str, expected: int | None) -> int:
    """Return the revision that a body without guarded members replaces.

    It is 0 for a new VM.

    Raises:
        ProblemError: 403, the VM has a guarded member, which the body would remove.
    """
    stored = await fleet_service.call_store(fleet_service.store.get, name)
    if stored is None:
        return expected or 0
    if fleet_service.fleet_index.reason_of(name):
        raise _forbidden(f"{name} is quarantined, and only a token of the role admin replaces it")
    if path := first_guarded(msgspec.json.decode(stored.body)):
        raise _forbidden(
            f"{path}: {name} has this member, which only a token of the role admin removes; change "
            "others by PATCH"
        )
    return stored.revision if expected is None else expected


def _forbidden(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.FORBIDDEN, f"{detail}. The token of this request may operate")
