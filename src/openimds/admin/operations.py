"""Every operation of the admin API; routes and the OpenAPI document are made from these rows."""

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
