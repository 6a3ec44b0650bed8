"""Changes by the admin API: time until seen, rate, cost of a list."""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.figures import Plan, Row, Table, percentile, progress, ratio, spread
from bench.fleets import address, name, write
from bench.http_client import HttpClient, http_client, pinned
from bench.machine import cores
from bench.servers import Server, openimds
from bench.targets import METADATA, request

VISIBLE = "from sending a change to its sight by the guest"
WRITES = "changes acknowledged"
QUIET, LISTING = "no listing", "100,000 VMs listed by pages of 1,000"
_LEAF = "/metadata/instance/compute/zone?api-version=2021-02-01&format=text"
_ADMIN = ("--no-rate-limit", "--admin", "127.0.0.1:0")
_ROUNDS = 200
_FLEET = 100_000


class AdminClient:
    """A connection to the admin API."""

    def __init__(self, url: str, token_file: Path) -> None:
        """Connect, and read the token."""
        self.token = token_file.read_text("ascii").strip()
        self._headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
        }
        self._http = HTTPConnection(url.removeprefix("http://"), timeout=60)

    @classmethod
    def of(cls, server: Server) -> "AdminClient":
        """Return a client of a server."""
        return cls(server.ready["admin"], Path(server.ready["token_file"]))

    def send(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Return the decoded response.

        Raises:
            RuntimeError: the server refused the request.
        """
        data = None if body is None else json.dumps(body)
        self._http.request(method, path, data, self._headers)
        got = self._http.getresponse()
        text = got.read()
        if got.status >= 400:  # noqa: PLR2004 - the first status of an error
            raise RuntimeError(text.decode())
        return json.loads(text) if text else None


def measure(plan: Plan) -> dict[str, Table]:
    """Return the tables of changes and of listing."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "changes": _changes(plan, Path(folder)),
            "listing": _listing(plan, Path(folder)),
        }


def _changes(plan: Plan, folder: Path) -> Table:
    rows: dict[str, Row] = {}
    for engine, state in (("memory", ()), ("SQLite", ("--state", str(folder / "state")))):
        progress(f"changes: {engine}")
        with openimds(*_ADMIN, *state) as server, http_client(server.address) as guest:
            admin = AdminClient.of(server)
            admin.send("PUT", "/v1/vms/vm-1", {})
            seen, acknowledged = _change(admin, guest, plan.rounds(_ROUNDS))
        ms = [seconds * 1e3 for seconds in seen]
        rows[f"{VISIBLE}, {engine}"] = {
            "p50_ms": spread([percentile(ms, 50)]),
            "p99_ms": spread([percentile(ms, 99)]),
        }
        rows[f"{WRITES}, one client, {engine}"] = {
            "changes_per_s": spread([1 / seconds for seconds in _tenths(acknowledged)])
        }
    return Table("Changes by the admin API", "change", rows)


def _change(admin: AdminClient, guest: HttpClient, rounds: int) -> tuple[list[float], list[float]]:
    """Change a VM; return the seconds until the guest saw it, and until the acknowledgement."""
    chunk = request(_LEAF, *METADATA)
    seen, acknowledged = [], []
    for number in range(rounds):
        zone = str(number)
        start = time.perf_counter()
        admin.send("PUT", "/v1/vms/vm-1", {"compute": {"zone": zone}})
        acknowledged.append(time.perf_counter() - start)
        while guest.send(chunk)[1] != zone.encode():
            pass
        seen.append(time.perf_counter() - start)
    return seen, acknowledged


def _tenths(values: list[float]) -> list[float]:
    """Return the means of ten runs of values, as rounds."""
    size = max(1, len(values) // 10)
    return [statistics.fmean(values[at : at + size]) for at in range(0, len(values), size)]


def _listing(plan: Plan, folder: Path) -> Table:
    count = 1000 if plan.is_quick else _FLEET
    server_core, client_core = cores()
    fleet = write(count, "json", folder)
    waits: dict[str, list[float]] = {QUIET: [], LISTING: []}
    lists: list[float] = []
    state = ("--state", str(folder / "listed"))
    with ExitStack() as stack:
        progress(f"changes: {count:,} VMs into a new store")
        server = stack.enter_context(
            openimds("--fleet", str(fleet), *_ADMIN, *state, core=server_core)
        )
        stack.enter_context(pinned(client_core))
        admin = AdminClient.of(server)
        admin.send("GET", "/healthz")
        guests = [stack.enter_context(http_client(server.address, address(n))) for n in range(50)]
        for number in range(plan.rounds(5)):
            progress(f"changes: listing, round {number + 1}")
            waits[QUIET].append(_p99(guests))
            with _lister(admin, count, lists):
                waits[LISTING].append(_p99(guests))
    return Table(
        "Waits of guests during a listing",
        "load",
        {
            QUIET: {"p99_us": spread(waits[QUIET])},
            LISTING: {
                "p99_us": spread(waits[LISTING]),
                "p99_times_idle": ratio(waits[LISTING], waits[QUIET]),
                "list_s": spread(lists),
            },
        },
    )


def _p99(guests: list[HttpClient]) -> float:
    chunk = request(_LEAF, *METADATA)
    waits = []
    for _ in range(20):
        for guest in guests:
            guest.send(chunk)
            waits.append(guest.wait_s * 1e6)
            time.sleep(0.001)
    return percentile(waits, 99)


@contextmanager
def _lister(admin: AdminClient, count: int, lists: list[float]) -> Iterator[None]:
    """List the whole fleet repeatedly inside the block."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            start, listed, cursor = time.perf_counter(), 0, ""
            while True:
                page = admin.send("GET", f"/v1/vms?limit=1000{cursor}")
                listed += len(page["items"])
                if page["next"] is None:
                    break
                cursor = f"&cursor={page['next']}"
            assert listed == count, listed
            assert page["items"][-1]["name"] == name(count - 1)
            lists.append(time.perf_counter() - start)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
