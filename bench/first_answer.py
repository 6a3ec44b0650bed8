"""The cost of a first answer: from the packed VM to the response's bytes."""

import gc
import time
from collections.abc import Callable
from random import Random
from statistics import median

from bench.figures import Plan, Row, Table, progress, spread
from bench.fleets import value
from bench.targets import INSTANCE
from openimds.dataplane.dispatcher import ResponseIndex
from openimds.dataplane.response_bytes import (
    CountKey,
    PreparedResponse,
    RequestCount,
    ResponseStamps,
)
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.vm_entry import VmEntry
from openimds.protocol.handle import handle, instance_document
from openimds.protocol.request import parse_query
from openimds.protocol.response import Response
from openimds.vm.fleet_file import parse_fleet
from openimds.vm.types import Vm

VMS = 1000
_OF = f"{VMS:,} cold VMs"
FIRST = f"first answer of a VM: completion to bytes, {_OF}"
FIRST_NEWEST = f"the same at the newest api-version, {_OF}"
DOCUMENT = f"completing the document and writing it as JSON alone, {_OF}"
_VERSION = INSTANCE.rpartition("=")[2]
_ROUNDS = 15
_CATALOG = catalog()
_STAMPS = ResponseStamps()
_COUNT = RequestCount(CountKey("instance", 200, ""))

Entry = VmEntry[PreparedResponse]


def measure(plan: Plan) -> dict[str, Table]:
    """Return CPU microseconds of first answers; a round is the median of all its VMs."""
    progress(f"first_answer: {VMS:,} VMs")
    vms = list(parse_fleet(value(VMS)).vms.values())
    cases: dict[str, Callable[[Entry], bytes]] = {
        FIRST: lambda entry: _answer(entry, INSTANCE),
        FIRST_NEWEST: lambda entry: _answer(entry, INSTANCE.replace(_VERSION, NEWEST)),
        DOCUMENT: lambda entry: instance_document(entry.vm, _VERSION),
    }
    rounds: dict[str, list[float]] = {case: [] for case in cases}
    for number in range(plan.rounds(_ROUNDS)):
        for case, answer in cases.items():
            rounds[case].append(_round_us(_cold(vms, number), answer))
    rows: dict[str, Row] = {case: {"cpu_us": spread(found)} for case, found in rounds.items()}
    return {"first_answer": Table("The first answer of a VM without sockets", "answer", rows)}


def _answer(entry: Entry, target: str) -> bytes:
    """Return the bytes of the response to a parsed request, as the dispatcher makes them."""
    query = parse_query("GET", target.encode(), has_metadata_header=True)
    now_s = time.time()
    response = handle(query, entry.subject(_CATALOG), now_s)
    assert isinstance(response, Response), response
    return _STAMPS.stamp(PreparedResponse(response, query.category.headers, _COUNT), now_s)


def _cold(vms: list[Vm], seed: int) -> list[Entry]:
    """Return new entries of the VMs, not in the order of memory, as guests call."""
    fleet_index: ResponseIndex = FleetIndex(_CATALOG, 0)
    fleet_index.apply(fleet_index.plan(vms))
    entries = [*fleet_index.by_name.values()]
    Random(seed).shuffle(entries)
    gc.collect()
    return entries


def _round_us(entries: list[Entry], answer: Callable[[Entry], bytes]) -> float:
    """Return the median of CPU microseconds an answer, the clock's own included.

    Raises:
        RuntimeError: an answer is not about its VM.
    """
    taken: list[int] = []
    for entry in entries:
        start = time.process_time_ns()
        data = answer(entry)
        taken.append(time.process_time_ns() - start)
        if f'"name":"{entry.name}"'.encode() not in data:
            raise RuntimeError(f"{entry.name} got {data[:200]!r}")
    return median(taken) / 1000
