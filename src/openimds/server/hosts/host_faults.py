"""The faults of a connected host, each with the host's own VMs alone."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from openimds.faults.injector import ActiveFault
from openimds.server.hosts.link import HostsLink
from openimds.server.seam.fault_states import fault_state
from openimds.server.seam.messages import SLICE_BYTES, FaultState, UpdateFaults


class HostFaults:
    """The messages with the faults of a host.

    A fault that serves VMs as they were has them packed; each is sent once to a host that keeps it.
    """

    def __init__(self, host: str, link: HostsLink) -> None:
        """Begin with a host that has just connected."""
        self._host, self._link = host, link
        self._sent: dict[tuple[str, float], set[str]] = {}
        """The VMs whose former state was sent, by key and time of a fault."""

    def bring(self, vms: AbstractSet[str]) -> bool:
        """Note VMs that came to the host, changed or went; tell whether faults concern them."""
        for sent in self._sent.values():
            sent.difference_update(vms)
        return any(
            not vms.isdisjoint(fault.spec.vms) or not fault.before.keys().isdisjoint(vms)
            for fault in self._link.injector.running
        )

    def messages(self) -> Iterator[UpdateFaults]:
        """Yield messages with all faults, until the host has every former state."""
        is_whole = False
        while not is_whole:
            running = [fault for fault in self._link.injector.running if self._is_here(fault)]
            kept = {_identity(fault): self._sent.get(_identity(fault), set()) for fault in running}
            self._sent = kept
            states: list[FaultState] = []
            left_bytes = SLICE_BYTES
            for fault in running:
                before: dict[str, bytes] = {}
                for name in self._lacking(fault):
                    if left_bytes <= 0:
                        break
                    before[name] = fault.before[name]
                    left_bytes -= len(before[name])
                kept[_identity(fault)] |= before.keys()
                states.append(replace(self._state(fault), before=before))
            is_whole = left_bytes > 0
            yield UpdateFaults(tuple(states))

    def _is_here(self, fault: ActiveFault) -> bool:
        return not fault.spec.vms or bool(self._own(fault))

    def _own(self, fault: ActiveFault) -> list[str]:
        return [name for name in fault.spec.vms if self._link.is_on(name, self._host)]

    def _state(self, fault: ActiveFault) -> FaultState:
        state = fault_state(fault)
        if fault.spec.vms:
            state = replace(state, members={**state.members, "vms": self._own(fault)})
        return state

    def _lacking(self, fault: ActiveFault) -> list[str]:
        """Return the host's VMs whose former state it lacks."""
        if not fault.before:
            return []
        sent, before = self._sent[_identity(fault)], fault.before
        names = self._link.names_on(self._host)
        return [name for name in names if name in before and name not in sent]


def _identity(fault: ActiveFault) -> tuple[str, float]:
    return fault.key, fault.begun_s
