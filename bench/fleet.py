"""Many hosts: one control, PostgreSQL, host processes, and streams by the thousand.

All processes share the cores, as on the machine of the prototype whose figures stand beside: its
hosts and its control were asyncio programs that spoke lines of JSON. Commits wait for the disk.
An event counts from the moment before its request is sent.
"""

import itertools
import re
import signal
import time
from contextlib import ExitStack
from threading import Thread

from bench import fleets
from bench.changes import AdminClient
from bench.figures import Plan, Row, Table, percentile, progress, spread
from bench.fleet_site import Site, admin_of, kill, site
from bench.http_client import HttpClient
from bench.servers import Address, Server
from bench.targets import ATTESTED, INSTANCE, METADATA, TOKEN, request

EVENT = "an event, committed: in the answer of the last guest"
STREAMS = "an event, committed: at the last of all mTLS streams"
CHURN = "changes for a minute, in requests of 50"
SINGLES = "changes for a minute, each a request of its own, by 8 clients"
PROBE = "a change among those: in the answer of its guest"
SYNC = "first sync of all hosts at once"
HOST = "one host process"
OUTAGE = "no engine, and every control killed: guests' requests"
RETURN = "the engine back: an event at the last guest"
AGAIN = "the engine back: all streams have all"
KILLED = "the leader killed: another leads"

_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
_LEAF = "/metadata/instance/compute/zone?api-version=2021-02-01&format=text"
_INCARNATION = re.compile(rb'"DocumentIncarnation":\s*(\d+)')
_RATE, _TOGETHER, _CLIENTS = 1010, 50, 8


def measure(plan: Plan) -> dict[str, Table]:
    """Return the table of many hosts."""
    quick, rows = plan.is_quick, dict[str, Row]()
    sizes = ((4, 10), (50, 1), (10, 100), (1, 1000)) if quick else _FULL
    for work, size in zip((_processes, _streams, _sync, _one_host), sizes, strict=True):
        progress(f"fleet: {size[0]:,} hosts of {size[1]:,} VMs")
        with site(*size) as made, ExitStack() as stack:
            control = stack.enter_context(made.control())
            rows |= work(plan, made, control, admin_of(control), stack)
    return {"fleet": Table("Many hosts, and the prototype's figures", "figure", rows)}


_FULL = ((40, 1000), (1000, 10), (100, 1000), (1, 10_000))


class Guest:
    """A guest of a host's first VM; it connects again after an error."""

    def __init__(self, address: Address, number: int) -> None:
        """Connect as the VM of a number."""
        self._address, self._source = address, fleets.address(number)
        self._http = HttpClient(address, self._source)
        self.asked = self.failed = 0

    def ask(self, target: str) -> bytes:
        """Return the body of a response; an error counts as failed."""
        self.asked += 1
        try:
            status, body = self._http.send(request(target, *METADATA))
        except (OSError, RuntimeError):
            self._http.close()
            self._http, status, body = HttpClient(self._address, self._source), 0, b""
        self.failed += status != 200  # noqa: PLR2004 - a success
        return body

    def incarnation(self) -> int:
        """Return the incarnation of its document of events."""
        found = _INCARNATION.search(self.ask(_EVENTS))
        return int(found[1]) if found else 0


def _declare(admin: AdminClient, number: int) -> float:
    """Declare an event, and return when that was asked for."""
    start_s = time.time()
    admin.send("POST", "/v1/events", {"type": "Freeze", "vms": [fleets.name(number)]})
    return start_s


def _last_s(guests: list[Guest], incarnation: int) -> float:
    """Wait until every guest has an incarnation; return when."""
    left = guests
    while left := [guest for guest in left if guest.incarnation() < incarnation]:
        time.sleep(0.002)
    return time.time()


def _waits(ms: list[float]) -> Row:
    return {"p50_ms": spread([percentile(ms, 50)]), "p99_ms": spread([percentile(ms, 99)])}


def _figure(key: str, value: float) -> Row:
    return {key: spread([value])}


def _processes(
    plan: Plan, made: Site, control: Server, admin: AdminClient, stack: ExitStack
) -> dict[str, Row]:
    hosts = [stack.enter_context(made.host(number)) for number in range(made.hosts)]
    guests = [Guest(host.address, at * made.each) for at, host in enumerate(hosts)]
    rows: dict[str, Row] = {}
    incarnation, waits = max(guest.incarnation() for guest in guests), list[float]()
    rounds = 3 if plan.is_quick else made.hosts - 1
    for number in range(rounds):
        start_s = _declare(admin, number * made.each)
        incarnation += 1
        waits.append((_last_s(guests, incarnation) - start_s) * 1e3)
    rows[EVENT] = _waits(waits) | _figure("prototype_ms", 42)
    rows |= _churn(plan, made, control, guests[0])
    rows |= _outage(plan, made, control, guests, incarnation + 1)
    return rows


class _Changes:
    """Changes of the zone of one VM after another, by clients that share a schedule."""

    def __init__(self, made: Site, control: Server, seconds: float) -> None:
        self._control, self._seconds = control, seconds
        self._count, self._places = itertools.count(), made.hosts * made.each
        self.done: list[int] = []

    def in_batches(self) -> None:
        """Send batches at a rate until the time is over."""
        admin, start_s, changed = AdminClient.of(self._control), time.perf_counter(), 0
        while changed < self._seconds * _RATE and time.perf_counter() - start_s < self._seconds:
            time.sleep(max(0.0, start_s + changed / _RATE - time.perf_counter()))
            batch = dict(self._next() for _ in range(_TOGETHER))
            admin.send("PATCH", "/v1/vms", batch)
            changed += len(batch)
        self.done.append(changed)

    def one_by_one(self) -> None:
        """Send changes, each after the answer to the one before, until the time is over."""
        admin, start_s, changed = AdminClient.of(self._control), time.perf_counter(), 0
        while time.perf_counter() - start_s < self._seconds:
            name, patch = self._next()
            admin.send("PATCH", f"/v1/vms/{name}", patch)
            changed += 1
        self.done.append(changed)

    def _next(self) -> tuple[str, object]:
        number = next(self._count)
        return fleets.name(1 + number % (self._places - 1)), {"compute": {"zone": str(number)}}


def _churn(plan: Plan, made: Site, control: Server, guest: Guest) -> dict[str, Row]:
    """Change VMs, together and one by one, beside a probe with changes of its own."""
    seconds = plan.seconds(60)
    progress("fleet: changes")
    batches, waits = _changed(_Changes(made, control, seconds), ["in_batches"], control, guest)
    singles, _ = _changed(
        _Changes(made, control, seconds), ["one_by_one"] * _CLIENTS, control, guest
    )
    failed = _figure("failed", guest.failed / guest.asked)
    return {CHURN: batches | failed, SINGLES: singles, PROBE: _waits(waits)}


def _changed(
    changes: _Changes, clients: list[str], control: Server, guest: Guest
) -> tuple[Row, list[float]]:
    """Let clients change VMs; return rate, cores, and the probe's waits in ms."""
    threads = [Thread(target=getattr(changes, client)) for client in clients]
    admin, waits, name = AdminClient.of(control), list[float](), fleets.name(0)
    cpu_s, start_s = control.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        zone = f"probe-{time.perf_counter_ns()}"
        sent_s = time.perf_counter()
        admin.send("PATCH", f"/v1/vms/{name}", {"compute": {"zone": zone}})
        while guest.ask(_LEAF) != zone.encode():
            time.sleep(0.002)
        waits.append((time.perf_counter() - sent_s) * 1e3)
        time.sleep(0.1)
    took_s = time.perf_counter() - start_s
    cores = _figure("cores", (control.cpu_s() - cpu_s) / took_s)
    return _figure("changes_per_s", sum(changes.done) / took_s) | cores, waits


def _outage(
    plan: Plan, made: Site, control: Server, guests: list[Guest], incarnation: int
) -> dict[str, Row]:
    """Kill the engine and control, start control without it, and then the engine."""
    half_s = 3.0 if plan.is_quick else 300.0
    targets = (INSTANCE, _EVENTS, ATTESTED, TOKEN)
    for guest in guests:
        for target in targets:
            guest.ask(target)
        guest.asked = guest.failed = 0

    def ask_for(seconds: float) -> None:
        end_s = time.perf_counter() + seconds
        asking = itertools.cycle([(guest, target) for guest in guests for target in targets])
        while time.perf_counter() < end_s:
            guest, target = next(asking)
            guest.ask(target)
            time.sleep(0.005)

    progress(f"fleet: no engine for {2 * half_s:g} s")
    made.cluster.stop(signal.SIGQUIT)
    ask_for(half_s)
    kill(control)
    with made.control() as again:
        ask_for(half_s)
        made.cluster.start()
        start_s = time.time()
        admin = admin_of(again)
        _declare(admin, (made.hosts - 1) * made.each)
        last_s = _last_s(guests, incarnation) - start_s
    failed = sum(guest.failed for guest in guests) / sum(guest.asked for guest in guests)
    return {
        OUTAGE: _figure("failed", failed),
        RETURN: _figure("done_s", last_s) | _figure("prototype_s", 4.9),
    }


def _streams(
    plan: Plan, made: Site, control: Server, admin: AdminClient, stack: ExitStack
) -> dict[str, Row]:
    waits: list[float] = []
    streams = stack.enter_context(made.streams(0, made.hosts))
    streams.connect()
    cpu_s, rounds = control.cpu_s(), 3 if plan.is_quick else 30
    for number in range(rounds):
        start_s = _declare(admin, number * made.each)
        waits.append((streams.event_s() - start_s) * 1e3)
    each_s = (control.cpu_s() - cpu_s) / rounds
    standby = stack.enter_context(made.control(1, made.port + 1))
    time.sleep(1)
    kill(control)
    start_s = time.time()
    admin_of(standby)
    taken_s = time.time() - start_s
    return {
        STREAMS: _waits(waits) | _figure("cpu_s", each_s) | _figure("prototype_ms", 176),
        KILLED: _figure("done_s", taken_s),
    }


def _sync(
    _plan: Plan, made: Site, control: Server, _admin: AdminClient, stack: ExitStack
) -> dict[str, Row]:
    streams = stack.enter_context(made.streams(0, made.hosts))
    cpu_s = control.cpu_s()
    done_s, _ = streams.connect()
    cost = _figure("cpu_s", control.cpu_s() - cpu_s) | _figure("peak_mb", control.peak_mb())
    made.cluster.stop(signal.SIGQUIT)
    kill(control)
    made.cluster.start()
    start_s = time.time()
    again = stack.enter_context(made.control())
    admin_of(again)
    at_s, vms = streams.synced()
    return {
        SYNC: _figure("done_s", done_s) | cost | _figure("prototype_s", 3.7),
        AGAIN: _figure("done_s", at_s - start_s) | _figure("vms_again", vms),
    }


def _one_host(
    _plan: Plan, made: Site, _control: Server, _admin: AdminClient, stack: ExitStack
) -> dict[str, Row]:
    host = stack.enter_context(made.host(0))
    return {HOST: _figure("ready_s", host.ready_s) | _figure("memory_mb", host.memory_mb())}
