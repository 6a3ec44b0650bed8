"""Active faults as they pass between control and host."""

from itertools import islice
from typing import Any

from msgspec.structs import replace

from openimds.faults.injector import ActiveFault, FaultInjector
from openimds.faults.service import vms_before
from openimds.fleet.index import FleetIndex
from openimds.protocol.faults.fault import fault_to_value
from openimds.protocol.faults.input import MOST_FAULTS, read_fault
from openimds.server.seam.messages import FaultState


def fault_state(fault: ActiveFault) -> FaultState:
    """Return an active fault as it passes."""
    members = fault_to_value(fault.spec)
    playbook = members.pop("playbook", "")
    return FaultState(fault.key, fault.origin, fault.begun_s, playbook, members)


def active_fault(state: FaultState, index: FleetIndex[Any] | None = None) -> ActiveFault:
    """Return the fault that passed, without counts.

    Where it has no VMs as they were, it serves those that the index has now.
    """
    (spec,) = read_fault(state.members, state.key)
    spec = replace(spec, playbook=state.playbook)
    before = state.before or {}
    if state.before is None and index is not None:
        before = vms_before(spec, index)
    return ActiveFault(state.key, spec, state.origin, state.begun_s, before)


class FollowedFaults:
    """The faults of a host, as control sends them.

    A fault is the same one while only its VMs differ: it goes on counting. One that control sends
    no longer is kept aside, with its counts: its last VM may have left this host, and come again.
    """

    def __init__(self, injector: FaultInjector, index: FleetIndex[Any]) -> None:
        """Change the faults of this injector, for the VMs of this index."""
        self._injector, self._index = injector, index
        self._aside: dict[str, ActiveFault] = {}

    def take(self, states: tuple[FaultState, ...]) -> None:
        """Play these faults, in this order.

        The VMs as they were, of a fault that is played already, are added to those that it has.
        """
        known = self._aside | {fault.key: fault for fault in self._injector.running}
        running = [self._followed(known.pop(state.key, None), state) for state in states]
        self._injector.running = tuple(running)
        for fault in known.values():
            fault.follow(fault.spec, {})  # They may be many.
        self._aside = dict(islice(known.items(), max(0, len(known) - MOST_FAULTS), None))

    def forget(self) -> None:
        """Forget the faults that are not played: another control may use their keys again."""
        self._aside.clear()

    def _followed(self, known: ActiveFault | None, state: FaultState) -> ActiveFault:
        fault = active_fault(state)
        if known is None or _identity(known) != _identity(fault):
            return active_fault(state, self._index)
        before = known.before
        if state.before is not None:
            here = self._index.by_name
            both = {**before, **state.before}
            before = {name: packed for name, packed in both.items() if name in here}
        known.follow(fault.spec, before)
        return known


def _identity(fault: ActiveFault) -> object:
    """Return the parts of a fault that stay while it is set."""
    return replace(fault.spec, vms=()), fault.origin, fault.begun_s
