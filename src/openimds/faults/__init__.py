"""The faults of a running server: set, counted, written down, cleared.

Rules of the room. What a fault is, and whether a request goes wrong by it, stands in `core.faults`;
here are the counts that it needs, and the list of what is set. The list of those that came by the
API is written before anybody meets them; counts are not: they begin anew with the process.

Theory. `engine` is asked by the data plane for each request, while anything is set. `board` is the
door: faults are set, played by the name of a playbook, and cleared there, by the admin API and in
Python alike.

What the room refuses to know: sockets, and what an answer looks like.
"""

from openimds.faults.injector import ActiveFault, FaultInjector
from openimds.faults.service import FaultService

__all__ = ["ActiveFault", "FaultInjector", "FaultService"]
