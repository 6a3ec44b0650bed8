"""Every operation of the admin API: the source of routes and of the OpenAPI document."""

from openimds.admin.handlers import (
    certificates,
    changes,
    events,
    faults,
    identities,
    requests,
    server,
    vms,
)
from openimds.admin.operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    *vms.OPERATIONS,
    *identities.OPERATIONS,
    *certificates.OPERATIONS,
    *events.OPERATIONS,
    *faults.OPERATIONS,
    *requests.OPERATIONS,
    *changes.OPERATIONS,
    *server.OPERATIONS,
)
