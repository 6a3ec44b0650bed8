"""Every operation of the admin API: the source of routes and of the OpenAPI document."""

from openimds.admin.handlers import (
    certificates,
    changes,
    clock,
    events,
    faults,
    identities,
    rehearsal,
    requests,
    scenarios,
    server,
    tokens,
    vms,
)
from openimds.admin.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    *vms.OPERATIONS,
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
)
