"""What goes wrong in a test, on request."""

from collections import Counter
from collections.abc import Iterator

from openimds.faults import ActiveFault
from openimds.server.server import Server
from openimds.testing.server_thread import ServerThread


class Faults:
    """The faults that are set now, in the order in which they are tried."""

    def __init__(self, stage: ServerThread, server: Server) -> None:
        """Stand before the faults of a server."""
        self._stage, self._faults = stage, server.faults

    def set(self, **members: object) -> tuple[ActiveFault, ...]:
        """Set a fault from now on: its members as under `faults` in a fleet file.

        `imds.faults.set(effect="status", status=410, until_s=70)`; without `vms` it is for all.

        Raises:
            ConfigError: no such effect or member, a value that does not fit, or no such VM.
        """
        __tracebackhide__ = True
        return tuple(self._stage.do(self._faults.set(members)))

    def play(self, playbook: str, *vms: str, **parameters: object) -> tuple[ActiveFault, ...]:
        """Play a playbook, such as `throttled`, from now on; for all VMs if none is named.

        Raises:
            ConfigError: as `set`.
        """
        __tracebackhide__ = True
        job = self._faults.play(playbook, *vms, **parameters)
        return tuple(self._stage.do(job))

    def clear(self, key: str = "") -> int:
        """Clear the fault of that key, or all of them; return how many there were."""
        __tracebackhide__ = True
        return self._stage.do(self._faults.clear(key))

    @property
    def played(self) -> Counter[str]:
        """How often each effect was played."""
        return Counter(self._faults.played)

    def __iter__(self) -> Iterator[ActiveFault]:
        """Return the faults that are set."""
        return iter(self._faults.running)

    def __len__(self) -> int:
        """Return how many are set."""
        return len(self._faults.running)
