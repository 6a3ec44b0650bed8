"""Active faults as they pass between control and host."""

from msgspec.structs import replace

from openimds.faults.injector import ActiveFault
from openimds.protocol.faults.fault import fault_to_value
from openimds.protocol.faults.input import read_fault
from openimds.server.seam.messages import FaultState


def fault_state(fault: ActiveFault) -> FaultState:
    """Return an active fault as it passes."""
    members = fault_to_value(fault.spec)
    playbook = members.pop("playbook", "")
    return FaultState(fault.key, fault.origin, fault.begun_s, playbook, members, fault.before)


def active_fault(state: FaultState) -> ActiveFault:
    """Return the fault that passed, without counts."""
    (spec,) = read_fault(state.members, state.key)
    spec = replace(spec, playbook=state.playbook)
    return ActiveFault(state.key, spec, state.origin, state.begun_s, state.before)
