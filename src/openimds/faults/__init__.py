"""The faults of a running server: set, counted, stored, cleared.

Rules of the room. The members of a fault, and whether it hits a request, are values of
`protocol.faults`; this room holds the counts and the list of active faults. Faults set by the API
are stored before they hit a request. Counts are not stored: they begin anew with the process.

Theory. The data plane asks the fault injector (`injector`) for each request while any fault is
active. The fault service (`service`) sets faults, plays playbooks by name and clears both, for the
admin API and for Python alike.

The room refuses to know sockets and the content of a response.
"""

from openimds.faults.injector import ActiveFault, FaultInjector
from openimds.faults.service import FaultService

__all__ = ["ActiveFault", "FaultInjector", "FaultService"]
