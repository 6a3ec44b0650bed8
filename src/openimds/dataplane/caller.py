"""The caller of a connection: the VM of its listener or source address.

The look-up is repeated when the fleet index has changed, so an open connection always has the VM
that owns its address now. Behind host rules a connection also has the hardware address that opened
it, and ends as soon as the VM of its source address has another one.
"""

from openimds.dataplane.dispatcher import ResponseIndex
from openimds.dataplane.parsed_request import WireEntry
from openimds.dataplane.phase import ConnectionSide
from openimds.dataplane.saved_syn import hardware_of
from openimds.dataplane.shares import UNKNOWN, Share


class CallerLookup(ConnectionSide):
    """The caller of one connection; the connection derives from it.

    `_peer` is the source address, `_listener` is set where the listener belongs to one VM, and
    `_sender` where host rules bind guests. The entry is None for an unknown caller.
    """

    _listener: str
    _peer: str
    _share: Share
    _generation = -1
    _entry: WireEntry | None = None
    _sender: bytes | None = None
    _is_of_another = is_beyond = False

    def _change_share(self, share: Share) -> None:
        """Go on as a connection of another VM; see `Connection`."""

    def _caller(self) -> WireEntry | None:
        """Return the calling VM, looked up anew when the fleet index has changed."""
        fleet_index = self.dispatcher.fleet_index
        if fleet_index.generation != self._generation:
            self._look_up(fleet_index)
            entry = self._entry
            share = self.dispatcher.connections.share(entry.name if entry else UNKNOWN)
            if share is not self._share:
                self._change_share(share)
        return self._entry

    def _look_up(self, fleet_index: ResponseIndex) -> None:
        self._generation = fleet_index.generation
        listener = self._listener
        self._entry = (
            fleet_index.entry_of(listener)
            if listener
            else fleet_index.entry_at(self._peer, is_beyond=self.is_beyond)
        )
        if self._sender is not None and (entry := self._entry):
            self._is_of_another = hardware_of(entry.packed) != self._sender
            # While the kernel answers a flood with cookies it keeps no sender: nothing has moved.
            if self._is_of_another and self._sender:
                self.dispatcher.on_moved_address(self._peer, entry.name)

    def _has_moved(self) -> bool:
        """Tell whether the source address belongs to another guest's VM now."""
        self._caller()
        return self._is_of_another

    def _has_refusal_fault(self) -> bool:
        faults = self.dispatcher.faults
        entry = self._caller() if faults else None
        return bool(faults and entry and faults.refuses(entry.name, self.dispatcher.utc()))
