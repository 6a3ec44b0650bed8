"""What faults cost: nothing before one is set and after all are cleared, and what in between.

Both sides of a comparison are the same code over the same bytes, so they take turns: A B A B, and
which of them begins changes with each round.
"""

from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.stage import GENEROUS, INSTANCE, METADATA, Caller, dispatcher, drive, request
from openimds.dataplane.dispatcher import Dispatcher
from openimds.faults import ActiveFault, FaultInjector
from openimds.protocol.faults.input import read_fault
from openimds.vm.types import Vm

NEVER = "instance document, cached, no fault was ever set"
CLEARED = "the same after faults were set and cleared"
ELSEWHERE = "while a fault is set that does not fit"
NOT_YET = "while a fault fits, counts, and is not played"
PLAYED = "while a fault is played: 410"
_NOISE = "(the first case again: what is mere noise)"
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
            "cpu_us": spread(one * 1e6 for one in values),
            "times_untroubled": ratio(values, seconds[NEVER]),
        }
        for name, values in seconds.items()
    }
    return {"faults": Table("Faults: CPU a request without sockets", "request", rows)}


def _dispatcher(name: str) -> Dispatcher:
    made = dispatcher([Vm("vm-1")], GENEROUS)
    if name in (NEVER, _NOISE):
        return made
    engine = FaultInjector()
    engine.running = tuple(
        ActiveFault("1", one, "api", made.utc(), {})
        for one in read_fault(_FAULTS.get(name, _FAULTS[PLAYED]))
    )
    made.set_faults(engine)
    if name == CLEARED:
        Caller(made, "127.0.0.1").status(request(INSTANCE, *METADATA))
        made.set_faults(None)
    return made


def _round_s(caller: Caller, chunk: bytes) -> float:
    taken = drive(caller.connection, [chunk] * _TRIAL)
    chunks = [chunk] * int(_TRIAL * _ROUND_S / taken)
    return drive(caller.connection, chunks) / len(chunks)
