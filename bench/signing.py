"""Tokens and attested documents: cached, and signed on one core."""

import subprocess
import time
from collections.abc import Callable
from itertools import count, repeat
from random import Random

from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.fleets import address, value
from bench.harness import GENEROUS, Caller, dispatcher, drive, drive_all, pending, signed
from bench.http_client import pinned
from bench.machine import cores, find
from bench.targets import ATTESTED, INSTANCE, METADATA, TOKEN, request
from openimds.dataplane.dispatcher import Dispatcher
from openimds.protocol.pending import PendingDocument, PendingToken
from openimds.vm.fleet_file import parse_fleet
from openimds.vm.types import Vm

INSTANCES, TOKENS, DOCUMENTS = "instance document", "token", "attested document"
AGAIN, EACH, TURN = (
    "one VM, all in one second",
    "one VM, each request in another second",
    "1,000 VMs in turn, a second for each lap",
)
_CALLERS = 1000
_REPEATS = 20000
_SECONDS = 1000
_LAPS = 3
_ROUNDS = 15

_RATE_ROUNDS = 7
_RATE_ROUND_S = 1.0
_RATE_BATCH = 50

_OK = 200


def measure(plan: Plan) -> dict[str, Table]:
    """Return the costs of cached responses and of new ones."""
    return {"signing": _cached(plan), "signatures": _rates(plan)}


def row(kind: str, way: str) -> str:
    """Return the name of a row: kind of response, way of the requests."""
    return f"{kind}, {way}"


def not_cached(kind: str) -> str:
    """Return the name of the row of a kind that is signed each time."""
    return f"{kind}, not cached"


# Cached, without sockets.


class _Site:
    """A thousand VMs with an identity, whose tokens and documents are cached.

    The wall clock is a fake, so that seconds pass when they should. It never goes back, and stays
    within the life of a token; documents, which are cached for five minutes, are not requested
    where it runs fast.
    """

    def __init__(self, kind: str, target: str) -> None:
        vms = list(parse_fleet(value(_CALLERS, has_identities=True)).vms.values())
        self._second_s = int(time.time())
        targets = () if kind == INSTANCES else (target,)
        service = signed(vms, targets, self._second_s)
        self._dispatcher: Dispatcher = dispatcher(vms, GENEROUS, service)
        self._chunk = request(target, *METADATA)
        self._callers = [Caller(self._dispatcher, address(n)) for n in range(_CALLERS)]
        Random(_CALLERS).shuffle(self._callers)  # As in `flat`.
        self._stand()
        for caller in self._callers:
            status = caller.status(self._chunk)
            if status != _OK:
                raise RuntimeError(f"{kind}: status {status}")

    def again_s(self) -> float:
        """Return CPU seconds a request of one VM while no second passes."""
        return drive(self._callers[-1], [self._chunk] * _REPEATS) / _REPEATS

    def each_s(self) -> float:
        """Return CPU seconds a request of one VM whose cached response has expired."""
        # A second passes at each look at the clock, which is at least once a request.
        clock = count(self._second_s)
        self._dispatcher.utc = clock.__next__
        seconds = drive(self._callers[-1], [self._chunk] * _SECONDS)
        self._second_s = next(clock)
        self._stand()
        return seconds / _SECONDS

    def turn_s(self) -> float:
        """Return CPU seconds a request of a thousand VMs in turn, once a second each."""
        seconds = 0.0
        for _ in range(_LAPS):
            self._second_s += 1
            self._stand()
            seconds += drive_all(self._callers, self._chunk)
        return seconds / _CALLERS / _LAPS

    def _stand(self) -> None:
        self._dispatcher.utc = repeat(float(self._second_s)).__next__


def _cached(plan: Plan) -> Table:
    progress(f"signing: cached, {_CALLERS:,} VMs with an identity each")
    sites = {
        kind: _Site(kind, target)
        for kind, target in ((INSTANCES, INSTANCE), (TOKENS, TOKEN), (DOCUMENTS, ATTESTED))
    }
    ways: dict[str, Callable[[_Site], float]] = {
        AGAIN: _Site.again_s,
        TURN: _Site.turn_s,
        EACH: _Site.each_s,
    }
    cases = [(kind, way) for way in ways for kind in sites if (kind, way) != (DOCUMENTS, EACH)]
    seconds: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    for _ in range(plan.rounds(_ROUNDS)):
        for kind, way in cases:
            seconds[kind, way].append(ways[way](sites[kind]))
    rows: dict[str, Row] = {
        row(kind, way): {
            "cpu_us": spread(value * 1e6 for value in seconds[kind, way]),
            "times_instance": ratio(seconds[kind, way], seconds[INSTANCES, way]),
        }
        for kind, way in cases
    }
    return Table("Tokens and documents, cached, CPU a request without sockets", "request", rows)


# Made, on one core.


def _rates(plan: Plan) -> Table:
    vm = Vm("vm-1")
    vm = parse_fleet({"vms": {vm.name: {"identities": {"system": True}}}}).vms[vm.name]
    utc_s = time.time()
    service = signed([vm], (TOKEN, ATTESTED), utc_s)
    token, document = pending(vm, TOKEN, utc_s), pending(vm, f"{ATTESTED}&nonce=1234567890", utc_s)
    assert isinstance(token, PendingToken)
    assert isinstance(document, PendingDocument)
    makers: dict[str, Callable[[], object]] = {
        TOKENS: lambda: service.tokens.sign(token, utc_s),
        DOCUMENTS: lambda: service.documents.sign(document, utc_s),
    }
    rates: dict[str, list[float]] = {kind: [] for kind in makers}
    openssl: list[float] = []
    rounds, seconds = plan.rounds(_RATE_ROUNDS), plan.seconds(_RATE_ROUND_S)
    with pinned(cores()[0]):
        for number in range(rounds):
            progress(f"signing: signatures on one core, round {number + 1} of {rounds}")
            openssl.append(_openssl_per_s(seconds))
            for kind, make in makers.items():
                rates[kind].append(_per_cpu_s(make, seconds))
    rows: dict[str, Row] = {
        not_cached(kind): {
            "made_per_cpu_s": spread(per_s),
            "times_openssl": ratio(per_s, openssl),
        }
        for kind, per_s in rates.items()
    }
    rows["openssl speed rsa2048, signatures"] = {"made_per_cpu_s": spread(openssl)}
    return Table("Signatures of RSA-2048 on one core", "signature", rows)


def _per_cpu_s(make: Callable[[], object], seconds: float) -> float:
    made, start = 0, time.process_time()
    while (passed := time.process_time() - start) < seconds:
        for _ in range(_RATE_BATCH):
            make()
        made += _RATE_BATCH
    return made / passed


def _openssl_per_s(seconds: float) -> float:
    """Return signatures a CPU second, which the program counts by default."""
    command = [find("openssl"), "speed", "-seconds", str(max(1, round(seconds))), "rsa2048"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    heads, figures = (line.split() for line in ran.stdout.splitlines()[-2:])
    # Newer releases have more columns. `rsa 2048 bits` stands before the figures.
    return float(dict(zip(heads, figures[3:], strict=True))["sign/s"])
