"""The recorded requests of guests, which each host keeps for its own VMs."""

import asyncio
from asyncio import Queue
from collections.abc import Mapping
from typing import Protocol

from openimds.errors import Error
from openimds.protocol.request_log import Record
from openimds.server.seam.channel import ChannelClosedError

PATIENCE_S = 10.0
"""The longest wait for the records of a VM."""
MOST_RECORDS = 5000
"""The most records of a VM that are read; a host with more shows the oldest."""


class RecordingHost(Protocol):
    """A connected host."""

    async def records(self, vm: str, since: int) -> tuple[Record, ...]:
        """Return some requests of a VM behind a number.

        Raises:
            ChannelClosedError: the host has gone.
        """
        ...


class RecordingHosts(Protocol):
    """The hosts of each VM, and those that are connected."""

    @property
    def sessions(self) -> Mapping[str, RecordingHost]:
        """The connected hosts by name."""
        ...

    def hosts_of(self, vm: str) -> tuple[str, ...]:
        """Return the hosts of a VM."""
        ...


class HostsRecording:
    """Asks the host of a VM for its requests.

    While a VM moves, that is the host which it leaves: each host has numbers of its own.
    """

    is_of_hosts = True
    per_vm = MOST_RECORDS
    clears = 0

    def __init__(self, hosts: RecordingHosts) -> None:
        """Ask these hosts."""
        self._hosts = hosts

    async def last_number(self) -> int:
        """Return 0: requests have numbers of their hosts."""
        return 0

    async def records(self, vm: str | None = None, since: int = 0) -> tuple[Record, ...]:
        """Return the records of a VM after a number, oldest first.

        Raises:
            Error: the VM is on no host, or its host is away.
        """
        assert vm is not None
        hosts = self._hosts.hosts_of(vm)
        if not hosts:
            raise Error(f"{vm} is placed on no host, so that no host keeps its requests")
        session = self._hosts.sessions.get(hosts[0])
        if session is None:
            raise Error(f"{_away(vm, hosts[0])}; it keeps them, and is asked when it is back")
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await _read(session, vm, since)
        except (ChannelClosedError, TimeoutError):
            raise Error(f"{_away(vm, hosts[0])}; try again") from None

    async def clear(self) -> None:
        """Do nothing: hosts keep their records."""

    async def findings(self) -> Mapping[str, int]:
        """Return nothing: hosts count what their own guests do."""
        return {}

    def subscribe(self) -> "Queue[Record | None]":
        """Return a feed without records."""
        return Queue()

    def unsubscribe(self, feed: "Queue[Record | None]") -> None:
        """Do nothing: the feed has no records."""


async def _read(host: RecordingHost, vm: str, since: int) -> tuple[Record, ...]:
    """Return records of a VM after a number; its host is not trusted with others."""
    records: list[Record] = []
    while len(records) < MOST_RECORDS:
        since = records[-1].number if records else since
        part = await host.records(vm, since)
        new = [one for one in part if one.vm == vm and one.number > since]
        if not new:
            break
        records += new
    return tuple(records[:MOST_RECORDS])


def _away(vm: str, host: str) -> str:
    return f"the requests of {vm} cannot be read: its host {host} is not connected"
