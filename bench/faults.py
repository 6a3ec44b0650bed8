"""The cost of faults: before one is set, while set, and after all are cleared.

Both sides of a comparison are the same code over the same bytes, so they take turns: A B A B, and
the order alternates from round to round.
"""

from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.harness import GENEROUS, Caller, dispatcher, drive
from bench.targets import INSTANCE, METADATA, request
from openimds.dataplane.dispatcher import Dispatcher
from openimds.faults import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read_fault
from openimds.vm.types import Vm

NEVER = "instance document, cached, no fault was ever set"
CLEARED = "the same after faults were set and cleared"
ELSEWHERE = "with a fault that does not match"
NOT_YET = "with a fault that matches and is not played yet"
PLAYED = "with a fault that is played: 410"
_NOISE = "(the first case again: noise alone)"
_FAULTS = {
    ELSEWHERE: {"effect": "status", "status": 410, "endpoint": "token"},
    NOT_YET: {"effect": "status", "status": 410, "nth": 10**9},
    PLAYED: {"effect": "status", "status": 410},
}
_ROUNDS = 61
_ROUND_S = 0.02
_TRIAL = 200


def measure(plan: Plan) -> dict[str, Table]:
    """Return CPU microseconds a request for every case."""
    progress(f"faults: {3 + len(_FAULTS)} cases")
    callers = {name: Caller(_dispatcher(name), "127.0.0.1") for name in (NEVER, CLEARED, _NOISE)}
    callers |= {name: Caller(_dispatcher(name), "127.0.0.1") for name in _FAULTS}
    chunk = request(INSTANCE, *METADATA)
    for name, caller in callers.items():
        status = [caller.status(chunk) for _ in range(_TRIAL)][-1]
        if status != (410 if name == PLAYED else 200):
            raise RuntimeError(f"{name}: status {status}")
    seconds: dict[str, list[float]] = {name: [] for name in callers}
    for number in range(plan.rounds(_ROUNDS)):
        turns = [*callers][:: -1 if number % 2 else 1]
        for name in turns:
            seconds[name].append(_round_s(callers[name], chunk))
    rows: dict[str, Row] = {
        name: {
            "cpu_us": spread(value * 1e6 for value in values),
            "times_without_faults": ratio(values, seconds[NEVER]),
        }
        for name, values in seconds.items()
    }
    return {"faults": Table("Faults: CPU a request without sockets", "request", rows)}


def _dispatcher(name: str) -> Dispatcher:
    plane = dispatcher([Vm("vm-1")], GENEROUS)
    if name in (NEVER, _NOISE):
        return plane
    injector = FaultInjector()
    injector.running = tuple(
        ActiveFault("1", fault, "api", plane.utc(), {})
        for fault in read_fault(_FAULTS.get(name, _FAULTS[PLAYED]))
    )
    plane.set_faults(injector)
    if name == CLEARED:
        Caller(plane, "127.0.0.1").status(request(INSTANCE, *METADATA))
        plane.set_faults(None)
    return plane


def _round_s(caller: Caller, chunk: bytes) -> float:
    taken = drive(caller, [chunk] * _TRIAL)
    chunks = [chunk] * int(_TRIAL * _ROUND_S / taken)
    return drive(caller, chunks) / len(chunks)
