"""Every operation of the admin API: the source of routes and of the OpenAPI document."""

from openimds.admin.handlers import (
    admin_tokens,
    certificates,
    changes,
    clock,
    events,
    faults,
    hosts,
    identities,
    rehearsal,
    requests,
    scenarios,
    server,
    tokens,
    viewer,
    vm_batches,
    vm_list,
    vms,
)
from openimds.admin.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    *vm_list.OPERATIONS,
    *vms.OPERATIONS,
    *vm_batches.OPERATIONS,
    *identities.OPERATIONS,
    *tokens.OPERATIONS,
    *certificates.OPERATIONS,
    *rehearsal.OPERATIONS,
    *events.OPERATIONS,
    *scenarios.OPERATIONS,
    *clock.OPERATIONS,
    *faults.OPERATIONS,
    *requests.OPERATIONS,
    *changes.OPERATIONS,
    *server.OPERATIONS,
    *viewer.OPERATIONS,
    *hosts.OPERATIONS,
    *admin_tokens.OPERATIONS,
)
