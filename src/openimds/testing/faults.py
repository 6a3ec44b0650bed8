"""Fault injection in a test."""

from collections import Counter
from collections.abc import Iterator

from openimds.faults import ActiveFault
from openimds.server.server import Server
from openimds.testing.server_thread import ServerThread


class Faults:
    """The active faults, in the order in which they are tried."""

    def __init__(self, thread: ServerThread, server: Server) -> None:
        """Take a server and its thread."""
        self._thread, self._faults = thread, server.faults

    def set(self, **members: object) -> tuple[ActiveFault, ...]:
        """Set a fault from now on, with members as in a fleet file.

        `imds.faults.set(effect="status", status=410, until_s=70)`; without `vms` it is for all.

        Raises:
            ConfigError: an unknown effect, member or VM, or a malformed value.
        """
        __tracebackhide__ = True
        return tuple(self._thread.do(self._faults.set(members)))

    def play(self, playbook: str, *vms: str, **parameters: object) -> tuple[ActiveFault, ...]:
        """Play a playbook, such as `throttled`, for some VMs or by default all.

        Raises:
            ConfigError: as `set`.
        """
        __tracebackhide__ = True
        job = self._faults.play(playbook, *vms, **parameters)
        return tuple(self._thread.do(job))

    def clear(self, key: str = "") -> int:
        """Clear the fault of a key, or all; return the number of cleared faults."""
        __tracebackhide__ = True
        return self._thread.do(self._faults.clear(key))

    @property
    def played(self) -> Counter[str]:
        """The number of times that each effect was played."""
        return Counter(self._faults.played)

    def __iter__(self) -> Iterator[ActiveFault]:
        """Return the active faults."""
        return iter(self._faults.running)

    def __len__(self) -> int:
        """Return the number of active faults."""
        return len(self._faults.running)
