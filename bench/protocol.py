"""The cost of our own code: dispatcher and connection, no sockets, no kernel."""

from collections.abc import Callable
from itertools import count

from msgspec import Struct

from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.fleets import value
from bench.harness import (
    GENEROUS,
    NO_METADATA,
    NO_PATH,
    TOO_SOON,
    Caller,
    EndlessTurns,
    PeerSocket,
    dispatcher,
    drive,
)
from bench.targets import INSTANCE, METADATA, REQUEST_ID, request
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.recording.recorder import Recorder
from openimds.fleet.vm_entry import documented_allowances
from openimds.protocol.pending import EventsDocument, Pending, Result
from openimds.vm.fleet_file import parse_fleet
from openimds.vm.types import Vm

CACHED = "instance document, cached, every check on"
EVENTS = "scheduled events, cached"
UNCHANGED = "304 by If-None-Match, scheduled events"
UNKNOWN_CALLER = "404 unknown caller, fleet of 2"
_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
_TWIN = "(the first case again: noise alone)"
_ROUNDS = 15
_ROUND_S = 0.04
_TRIAL = 200
_PIPELINED = 16
_RECORDED = 1000
_NOWHERE = "127.200.0.1"

_numbers = count()


class Case(Struct, frozen=True):
    """Requests of one kind, their dispatcher, and the expected status."""

    name: str
    dispatcher: Dispatcher
    status: int
    chunk: Callable[[], bytes]
    requests: int = 1
    peer: str = "127.0.0.1"


class _EventsProvider:
    """The document of a scope that has not changed for long."""

    def __init__(self) -> None:
        self._document = EventsDocument(b'{"DocumentIncarnation":1,"Events":[]}', "1")

    def cached(self, _need: Pending, _now_s: float) -> Result | None:
        """Return the document."""
        return self._document

    async def make(self, need: Pending, _now_s: float) -> Result:
        """Raise: nothing is pending here."""
        raise AssertionError(need)


class _Deaf:
    """A connection that sends no response, so that only the harness costs."""

    has_rest = False

    def resume(self) -> None:
        """Do nothing."""


class _Idle:
    """A caller of nothing."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.socket, self.turns, self.connection = PeerSocket(), EndlessTurns(dispatcher), _Deaf()


def measure(plan: Plan) -> dict[str, Table]:
    """Return CPU microseconds a request for every case."""
    cases = _cases()
    progress(f"protocol: {len(cases)} cases")
    callers = [_tried(case) for case in cases]
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    harness: list[float] = []
    for _ in range(plan.rounds(_ROUNDS)):
        harness.append(_harness_s(cases[0].dispatcher))
        for case, caller in zip(cases, callers, strict=True):
            seconds[case.name].append(_round_s(case, caller))
    cached = seconds[CACHED]
    rows: dict[str, Row] = {
        name: {"cpu_us": spread(_micro(values)), "times_cached": ratio(values, cached)}
        for name, values in seconds.items()
    }
    rows[UNCHANGED]["times_changed"] = ratio(seconds[UNCHANGED], seconds[EVENTS])
    rows["(the harness alone, in every figure above)"] = {"cpu_us": spread(_micro(harness))}
    return {"protocol": Table("CPU a request without sockets", "request", rows)}


def _cases() -> list[Case]:
    plane, bounded = (
        dispatcher([Vm("vm-1")], GENEROUS),
        dispatcher([Vm("vm-1")], documented_allowances()),
    )
    two = dispatcher(list(parse_fleet(value(2)).vms.values()), GENEROUS)
    recorded = dispatcher([Vm("vm-1")], GENEROUS)
    recorded.set_observer(Recorder(_RECORDED))
    events = dispatcher([Vm("vm-1")], GENEROUS, _EventsProvider())
    unchanged = request(_EVENTS, *METADATA, 'If-None-Match: "1"')
    leaf = "/metadata/instance/compute/vmId?api-version=2021-02-01&format=text"
    whole = request(INSTANCE, *METADATA)
    return [
        Case(CACHED, plane, 200, _always(INSTANCE)),
        Case("one leaf as text, cached", plane, 200, _always(leaf)),
        Case("versions, cached", plane, 200, _always("/metadata/versions")),
        Case("instance document in new bytes (parsed, cached)", plane, 200, _new_bytes),
        Case("instance document, target never seen (rendered)", plane, 200, _new_target),
        Case(EVENTS, events, 200, _always(_EVENTS)),
        Case(UNCHANGED, events, 304, lambda: unchanged),
        Case("16 pipelined (each)", plane, 200, lambda: whole * _PIPELINED, _PIPELINED),
        Case(NO_METADATA, plane, 400, lambda: request(INSTANCE)),
        Case("400 unknown api-version", plane, 400, _always(INSTANCE + "9")),
        Case(NO_PATH, plane, 404, _always("/metadata/nothing?api-version=2021-02-01")),
        Case(TOO_SOON, bounded, 429, _always(INSTANCE)),
        Case("429 in new bytes (parsed)", bounded, 429, _new_bytes),
        Case("429, target never seen", bounded, 429, _new_target),
        Case(UNKNOWN_CALLER, two, 404, _always(INSTANCE), peer=_NOWHERE),
        Case("instance document, recorded", recorded, 200, _always(INSTANCE)),
        Case(_TWIN, plane, 200, _always(INSTANCE)),
    ]


def _always(target: str) -> Callable[[], bytes]:
    chunk = request(target, *METADATA)
    return lambda: chunk


def _new_bytes() -> bytes:
    return request(INSTANCE, *METADATA, REQUEST_ID.format(next(_numbers)))


def _new_target() -> bytes:
    return request(f"{INSTANCE}&n={next(_numbers)}", *METADATA)


def _tried(case: Case) -> Caller:
    """Return the warm connection of a case after a check of its responses.

    Raises:
        RuntimeError: a status is not the expected one.
    """
    caller = Caller(case.dispatcher, case.peer)
    statuses = [caller.status(case.chunk()) for _ in range(_TRIAL)]
    if statuses[-1] != case.status:
        raise RuntimeError(f"{case.name}: status {statuses[-1]}")
    return caller


def _round_s(case: Case, caller: Caller) -> float:
    """Return CPU seconds a request."""
    trial = [case.chunk() for _ in range(_TRIAL // case.requests)]
    taken = drive(caller, trial)
    chunks = [case.chunk() for _ in range(int(len(trial) * _ROUND_S / taken))]
    return drive(caller, chunks) / len(chunks) / case.requests


def _harness_s(plane: Dispatcher) -> float:
    chunks = [request(INSTANCE, *METADATA)] * 20000
    return drive(_Idle(plane), chunks) / len(chunks)


def _micro(seconds: list[float]) -> list[float]:
    return [value * 1e6 for value in seconds]
