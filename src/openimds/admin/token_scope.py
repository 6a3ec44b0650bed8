"""Tokens that are bound to a selector of VMs, and their operations.

A VM outside the selector is for the token a VM that does not exist: 404, with the sentence of an
unknown name, so that nothing shows which names are in use. An operation that cannot be narrowed to
VMs is 403, as every caller knows that it exists. The selector is held against the VM at the time of
the request: a VM that no longer fits is gone for the token, with its history.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from http import HTTPStatus

from starlette.requests import Request

from openimds.admin.operation import Operation
from openimds.admin.problem import ProblemError, no_vm
from openimds.admin.roles import GRANT, Role, TokenGrant
from openimds.admin.services import AdminServices
from openimds.errors import ConfigError
from openimds.fleet.service import FleetService
from openimds.vm.selector import Selector, parse_selector

BOUND_ROLES = (Role.READ, Role.OPERATE)
"""The roles of such tokens. Members that `admin` writes decide which VM a caller is."""


class Narrowing(StrEnum):
    """The ways in which operations treat a token that is bound to VMs."""

    OPEN = "open"
    """It concerns no VM, and tells nothing about any."""
    NAMED = "named"
    """Its path names the one VM."""
    NARROWED = "narrowed"
    """Its handler leaves out the VMs that are not the token's."""
    REFUSED = "refused"
    """It concerns more than VMs, or needs the role `admin`."""


_NARROWINGS: dict[Narrowing, tuple[str, ...]] = {
    Narrowing.OPEN: (
        "get_health",
        "get_readiness",
        "get_openapi",
        "show_docs",
        "get_docs_script",
        "get_clock",
        "list_playbooks",
        "list_keys",
        "list_certificates",
        "list_hardware_certificates",
        "show_revocation",
        "show_rehearsal",
    ),
    Narrowing.NAMED: ("get_vm", "patch_vm", "get_document", "get_placement"),
    Narrowing.NARROWED: (
        "list_vms",
        "list_audit",
        "follow_changes",
        "list_events",
        "declare_events",
        "get_event",
        "start_event",
        "complete_event",
        "cancel_event",
        "approve_event",
        "list_event_log",
        "list_requests",
        "follow_requests",
        "report_requests",
        "list_faults",
        "set_faults",
        "clear_faults",
        "clear_fault",
    ),
    Narrowing.REFUSED: (
        "put_vm",
        "patch_vms",
        "delete_vm",
        "list_vm_identities",
        "list_identities",
        "get_endpoints",
        "issue_token",
        "rotate_key",
        "rotate_certificate",
        "revoke_certificate",
        "begin_rehearsal",
        "end_rehearsal",
        "list_scenarios",
        "begin_scenario",
        "end_scenario",
        "set_clock",
        "clear_requests",
        "get_metrics",
        "rotate_token",
        "list_hosts",
        "add_host",
        "revoke_host",
        "list_tokens",
        "add_token",
        "renew_token",
        "revoke_token",
    ),
}
NARROWINGS: Mapping[str, Narrowing] = {
    name: narrowing for narrowing, names in _NARROWINGS.items() for name in names
}
"""By the name of an operation; one that is not here is refused."""
_MEMBERS = {
    "tag": ("compute.tags", "compute.tagsList"),
    "size": ("compute.vmSize",),
    "zone": ("compute.zone",),
}
"""The members by which a token that operates could move a VM out of its selector."""


_SHARED = ("availabilitySet", "compute.placementGroupId")
"""The members by which a VM joins the scheduled events of others; its scale set needs `admin`."""


@lru_cache(maxsize=1000)
def _selector(text: str) -> Selector:
    return parse_selector(text)


def check_bound_role(role: Role, select: str) -> None:
    """Check the selector of a new token.

    Raises:
        ConfigError: it is none, or the role goes beyond VMs.
    """
    if select:
        _selector(select)
        if role not in BOUND_ROLES:
            seen = f"a selector for the role {role}"
            raise ConfigError("select", seen, f"the role {' or '.join(BOUND_ROLES)}")


def scope_of(request: Request) -> Selector | None:
    """Return the selector of a request's token; None for all VMs."""
    grant: TokenGrant | None = request.scope.get(GRANT)
    return _selector(grant.select) if grant and grant.select else None


def has(service: FleetService, scope: Selector | None, name: str) -> bool:
    """Tell whether a VM is served, and in a scope."""
    if scope is None:
        return True
    entry = service.fleet_index.by_name.get(name)
    return entry is not None and scope.matches(entry.vm)


def has_all(service: FleetService, scope: Selector | None, names: Iterable[str]) -> bool:
    """Tell whether all of these VMs are in a scope."""
    return all(has(service, scope, name) for name in names)


def has_any(service: FleetService, scope: Selector | None, names: Iterable[str]) -> bool:
    """Tell whether one of these VMs is in a scope; None has all."""
    return scope is None or any(has(service, scope, name) for name in names)


def check_scope(services: AdminServices, request: Request, row: Operation) -> None:
    """Check that a token may call an operation for its VMs.

    Raises:
        ProblemError: 403, the operation cannot be narrowed; 404, the VM is another one.
    """
    scope = scope_of(request)
    if scope is None:
        return
    narrowing = NARROWINGS.get(row.name, Narrowing.REFUSED)
    if narrowing is Narrowing.REFUSED:
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            f'{row.name} is not for a token that is bound to VMs; this one is to "{scope.text}"',
        )
    if narrowing is Narrowing.NAMED:
        check_name(services, request, request.path_params["name"])


def check_name(services: AdminServices, request: Request, name: str) -> None:
    """Check that a VM is one of the token's.

    Raises:
        ProblemError: 404, as for a name that no VM has.
    """
    if not has(services.fleet_service, scope_of(request), name):
        raise no_vm(name)


def check_stays(request: Request, patch: Mapping[str, object]) -> None:
    """Check that a patch moves no VM out of the selector, nor into others' events.

    Raises:
        ProblemError: 403, it has a member that could.
    """
    scope = scope_of(request)
    if scope is None:
        return
    deciding = [path for term in scope.terms for path in _MEMBERS.get(term.key, ())]
    for path in (*deciding, *_SHARED):
        group, _, name = path.rpartition(".")
        members = patch.get(group, {}) if group else patch
        if not isinstance(members, dict) or name in members:
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                f'{path}: the token of this request is bound to "{scope.text}", and does not write '
                "a member that decides which VMs it reaches; leave it out",
            )


def narrowed(request: Request, selector: Selector | None) -> Selector | None:
    """Return a selector within the scope of a request's token; None for all VMs."""
    scope = scope_of(request)
    if scope is None or selector is None:
        return scope or selector
    return Selector(
        ",".join(filter(None, (scope.text, selector.text))),
        (*scope.names, *selector.names),
        (*scope.terms, *selector.terms),
    )
