"""Fault injection in a test."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from openimds.faults import ActiveFault
from openimds.fleet.fault_bodies import with_body
from openimds.protocol.faults.custom_response import BODY, body_member
from openimds.testing.calls import Facade, awaited, blocking
from openimds.testing.server_thread import RunningServer


class FaultJobs:
    """The changes of a server's faults, on the server's loop."""

    def __init__(self, running: RunningServer) -> None:
        """Take a running server."""
        self._running = running

    async def set(self, /, **members: object) -> tuple[ActiveFault, ...]:
        """Set a fault from now on, with members as in a fleet file.

        `imds.faults.set(effect="status", status=410, until_s=70)`; without `vms` it is for all. The
        `body` of a response may be bytes, and `body_file` a path.

        Raises:
            ConfigError: an unknown effect, member or VM, a malformed value, or an unreadable file.
        """
        return tuple(await self._running.server.faults.set(_with_body(members)))

    async def play(
        self, /, playbook: str, *vms: str, **parameters: object
    ) -> tuple[ActiveFault, ...]:
        """Play a playbook, such as `throttled`, for some VMs or by default all.

        Raises:
            ConfigError: as `set`.
        """
        return tuple(await self._running.server.faults.play(playbook, *vms, **parameters))

    async def clear(self, key: str = "") -> int:
        """Clear the fault of a key, or all; return the number of cleared faults."""
        return await self._running.server.faults.clear(key)


def _with_body(members: dict[str, object]) -> object:
    """Return the members of a fault with its body as a fleet file writes it."""
    plain = {
        name: str(member) if isinstance(member, PurePath) else member
        for name, member in members.items()
    }
    if isinstance(body := plain.get(BODY), bytes):
        del plain[BODY]
        plain.update([body_member(body)])
    return with_body(plain, Path(), "")


class FaultReads(Facade[FaultJobs]):
    """The active faults, in the order in which they are tried."""

    def __init__(self, running: RunningServer) -> None:
        """Take a running server."""
        super().__init__(running, FaultJobs(running))

    @property
    def played(self) -> Counter[str]:
        """The number of times that each effect was played."""
        return Counter(self._running.server.faults.played)

    def __iter__(self) -> Iterator[ActiveFault]:
        """Return the active faults."""
        return iter(self._running.server.faults.running)

    def __len__(self) -> int:
        """Return the number of active faults."""
        return len(self._running.server.faults.running)


class Faults(FaultReads):
    """The active faults, in the order in which they are tried."""

    set = blocking(FaultJobs.set)
    play = blocking(FaultJobs.play)
    clear = blocking(FaultJobs.clear)


class AsyncFaults(FaultReads):
    """The faults of `AsyncImds`: as `Faults`, with changes that are awaited."""

    set = awaited(FaultJobs.set)
    play = awaited(FaultJobs.play)
    clear = awaited(FaultJobs.clear)
