"""Testing: a metadata service inside a test run or program, by `serve` and `aserve`.

Rules of the room. The process belongs to the project under test: nothing here touches its signals,
limits, collector, environment or home. A server's address stays the same for all of its life.
Everything that a test changes ends with its server, or with a reset: VMs, tokens, events, clock,
faults, records, counters. Only expensive parts that carry no state are shared: a port, an event
loop in a thread, keys. pytest is imported by `marks`, `netns_parent` and `netns_child` alone.

Theory. `server_thread` keeps a thread with its port and keys, and runs a server on it; between
servers the port refuses. `options` makes the server's input, from the arguments of `serve`
(`embedded`) or from pytest's marks (`marks`). `imds` is the value that a test holds, made of `vms`,
`events`, `clock`, `environment`, `requests` and `faults`. A change is a job on the server's loop
that ends when guests can see it; `calls` gives each job two faces: `Imds` blocks, and `AsyncImds`
(`async_imds`) awaits. Values in memory are read by the caller's thread, without a job.
`netns_parent` runs a test marked `real_address` in a child process with its own network
(`netns_child`), and takes its reports back; there `azure_pki` opens the sockets of Azure's hosts.

What the room refuses to know: HTTP. It calls the parts of the server that the admin API calls.
This file imports nothing, because the child must import little before it leaves the network: its
public names are loaded by their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openimds.faults import ActiveFault as ActiveFault
    from openimds.protocol.events.event import Event as Event
    from openimds.protocol.lint import Finding as Finding
    from openimds.protocol.request_log import Record as Record
    from openimds.testing.async_imds import AsyncImds as AsyncImds
    from openimds.testing.clock import AsyncClock as AsyncClock
    from openimds.testing.clock import GuestClock as GuestClock
    from openimds.testing.embedded import aserve as aserve
    from openimds.testing.embedded import serve as serve
    from openimds.testing.environment import Environment as Environment
    from openimds.testing.events import AsyncEvents as AsyncEvents
    from openimds.testing.events import Events as Events
    from openimds.testing.events import EventStateError as EventStateError
    from openimds.testing.faults import AsyncFaults as AsyncFaults
    from openimds.testing.faults import Faults as Faults
    from openimds.testing.imds import Imds as Imds
    from openimds.testing.requests import Requests as Requests
    from openimds.testing.server_thread import ServerClosedError as ServerClosedError
    from openimds.testing.vms import AsyncServedVm as AsyncServedVm
    from openimds.testing.vms import AsyncVms as AsyncVms
    from openimds.testing.vms import ServedVm as ServedVm
    from openimds.testing.vms import Vms as Vms

_MODULES = {
    "ActiveFault": "openimds.faults",
    "AsyncClock": "openimds.testing.clock",
    "AsyncEvents": "openimds.testing.events",
    "AsyncFaults": "openimds.testing.faults",
    "AsyncImds": "openimds.testing.async_imds",
    "AsyncServedVm": "openimds.testing.vms",
    "AsyncVms": "openimds.testing.vms",
    "Environment": "openimds.testing.environment",
    "Event": "openimds.protocol.events.event",
    "EventStateError": "openimds.testing.events",
    "Events": "openimds.testing.events",
    "Faults": "openimds.testing.faults",
    "Finding": "openimds.protocol.lint",
    "GuestClock": "openimds.testing.clock",
    "Imds": "openimds.testing.imds",
    "Record": "openimds.protocol.request_log",
    "Requests": "openimds.testing.requests",
    "ServedVm": "openimds.testing.vms",
    "ServerClosedError": "openimds.testing.server_thread",
    "Vms": "openimds.testing.vms",
    "aserve": "openimds.testing.embedded",
    "serve": "openimds.testing.embedded",
}
__all__ = [
    "ActiveFault",
    "AsyncClock",
    "AsyncEvents",
    "AsyncFaults",
    "AsyncImds",
    "AsyncServedVm",
    "AsyncVms",
    "Environment",
    "Event",
    "EventStateError",
    "Events",
    "Faults",
    "Finding",
    "GuestClock",
    "Imds",
    "Record",
    "Requests",
    "ServedVm",
    "ServerClosedError",
    "Vms",
    "aserve",
    "serve",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class or a function
    """Import and return a public name of the room."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
