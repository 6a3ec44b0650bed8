"""Tokens and attested documents: cached, signed on one core, beside quiet VMs."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count, repeat
from pathlib import Path
from random import Random

from msgspec import field

from bench import neighbour, quiet_token, wrk
from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.fleets import address, value
from bench.harness import GENEROUS, Caller, dispatcher, drive, drive_all, pending, signed
from bench.http_client import http_client, pinned
from bench.machine import cores, find
from bench.quiet import Patience, Watch, quiet_rounds
from bench.servers import Server, openimds
from bench.signing_load import MINTERS, TARGETS
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
MINTED = ("tokens are made", "documents are signed")
"""The loads at full rate beside the quiet VMs."""
_CALLERS = 1000
_REPEATS = 20000
_SECONDS = 1000
_LAPS = 3
_ROUNDS = 15

_RATE_ROUNDS = 7
_RATE_ROUND_S = 1.0
_RATE_BATCH = 50

_IDLE = "no signatures"
_QUIET = 50
_QUIET_PER_S = 2
_LEAD_S = 1.0
_MINT_ROUNDS = 6
_MINT_ROUND_S = 10.0
_PATIENCE_S = 180.0
_STRAY_SHARE = 0.01
_OK = 200


def measure(plan: Plan) -> dict[str, Table]:
    """Return the costs of cached responses, of new ones, and for other VMs."""
    return {
        "signing": _cached(plan),
        "signatures": _rates(plan),
        "minting": _minting(plan),
        "quiet_token": quiet_token.table(plan),
    }


def row(kind: str, way: str) -> str:
    """Return the name of a row: kind of response, way of the requests."""
    return f"{kind}, {way}"


# Cached, without sockets.


class _Site:
    """A thousand VMs with an identity, whose tokens and documents are cached.

    The wall clock is a fake, so that seconds pass when they should. It never goes back, and stays
    within the life of a token; documents, which are cached for five minutes, are not requested
    where it runs fast.
    """

    def __init__(self, kind: str, target: str) -> None:
        vms = list(parse_fleet(_with_identities(_CALLERS)).vms.values())
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
        f"{kind}, not cached": {
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


# Made at full rate, while other VMs request metadata.


class _Waits(neighbour.Waits):
    """The waits of the quiet VMs beside signatures, round by round."""

    busy: list[float] = field(default_factory=list)

    def run(self, server: Server, seconds: float) -> None:
        """Run a round.

        Raises:
            RuntimeError: too many requests were refused.
        """
        watch = Watch(server.cpu_s)
        # As in `neighbour`, the load begins before the measurement and outlasts it.
        process = self.noise(server, seconds + 2 * _LEAD_S) if self.noise else None
        time.sleep(_LEAD_S)
        before, start = server.cpu_s(), time.perf_counter()
        self.waits.append(_waits(server, seconds))
        self.busy.append((server.cpu_s() - before) / (time.perf_counter() - start))
        if process:
            made, refused, passed = wrk.counts(process)
            if refused > made * _STRAY_SHARE:
                raise RuntimeError(f"{refused} of {made} were refused")
            self.rates.append(made / passed)
        self.others.append(watch.share())

    def row(self, idle: neighbour.Waits) -> Row:
        """Return the figures."""
        figures = neighbour.Waits.row(self, idle)
        figures["busy"] = spread(self.busy[number] for number in quiet_rounds(self.others))
        if self.rates:
            figures["made_per_s"] = figures.pop("noise_per_s")
        return figures


def _minting(plan: Plan) -> Table:
    server_core, client_core = cores()
    rounds, patience = plan.rounds(_MINT_ROUNDS), Patience(plan.seconds(_PATIENCE_S))
    loads = {_IDLE: _Waits()}
    kinds = zip(MINTED, TARGETS, strict=True)
    loads |= {name: _Waits(partial(_mint, kind)) for name, kind in kinds}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "fleet.json"
        file.write_text(json.dumps(_with_identities(MINTERS + _QUIET)), "utf-8")
        server = stack.enter_context(
            openimds("--fleet", str(file), "--no-rate-limit", core=server_core)
        )
        stack.enter_context(pinned(client_core))
        _warm(server)
        for number in range(rounds):
            progress(f"signing: round {number + 1} of {rounds}, {len(loads)} loads")
            for load in loads.values():
                patience.wait()
                load.run(server, plan.seconds(_MINT_ROUND_S))
    title = f"{_QUIET} quiet VMs request metadata while others need signatures"
    return Table(title, "load", {name: load.row(loads[_IDLE]) for name, load in loads.items()})


def _mint(kind: str, server: Server, seconds: float) -> subprocess.Popen[str]:
    host, port = server.address
    command = (sys.executable, "-m", "bench.signing_load", host, str(port), kind, str(seconds))
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _warm(server: Server) -> None:
    """Let the server make its keys and certificates, which takes longer than a signature."""
    with http_client(server.address) as client:
        for target in (TOKEN, ATTESTED):
            status, body = client.send(request(target, *METADATA))
            if status != _OK:
                raise RuntimeError(f"{target}: status {status}, {body[:200]!r}")


def _waits(server: Server, seconds: float) -> list[float]:
    """Send the requests of the quiet VMs and return the seconds until each response."""
    chunk = request(INSTANCE, *METADATA)
    waits: list[float] = []
    with ExitStack() as stack:
        clients = [
            stack.enter_context(http_client(server.address, address(MINTERS + n)))
            for n in range(_QUIET)
        ]
        start = time.perf_counter()
        for number in range(int(seconds * _QUIET * _QUIET_PER_S)):
            time.sleep(max(0, start + number / (_QUIET * _QUIET_PER_S) - time.perf_counter()))
            client = clients[number % _QUIET]
            status, _ = client.send(chunk)
            waits.append(client.wait_s)
            if status != _OK:
                raise RuntimeError(f"status {status}")
    return waits


def _with_identities(size: int) -> dict[str, object]:
    """Return a fleet whose VMs have a system-assigned identity each."""
    fleet = value(size)
    for vm in fleet["vms"].values():
        vm["identities"] = {"system": True}
    return fleet
