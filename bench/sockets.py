"""The real process under wrk beside nginx and Go's net/http: one core, in turns.

A way is a kind of client. Each server gets a way at a time, on the same core, and gives the same
body. nginx runs twice: as it is by default, and with deferred accept, where the kernel shows a
connection only once its request has come. Go runs where it is installed.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct, field

from bench import wrk
from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.harness import NO_METADATA, NO_PATH
from bench.http_client import http_client
from bench.machine import cores, find
from bench.quiet import Patience, quiet_rounds
from bench.servers import Server, net_http, nginx, openimds
from bench.targets import INSTANCE, METADATA, request

OURS, NGINX, DEFERRED, GO = "openimds", "nginx", "nginx, deferred accept", "Go net/http"
FEW, MANY = "16 connections", "64 connections"
UNIQUE = "16 connections, unique headers"
EACH = "16 at once, a connection for each request"


class Way(Struct, frozen=True):
    """A kind of client, and the servers that serve it."""

    target: wrk.Target
    servers: tuple[str, ...]


_WAYS: dict[str, Way] = {
    FEW: Way(wrk.Target(INSTANCE, METADATA, 16), (NGINX, GO, OURS)),
    MANY: Way(wrk.Target(INSTANCE, METADATA, 64), (NGINX, OURS)),
    UNIQUE: Way(wrk.Target(INSTANCE, METADATA, 16, "unique.lua"), (NGINX, GO, OURS)),
    EACH: Way(
        wrk.Target(INSTANCE, (*METADATA, "Connection: close"), 16), (NGINX, DEFERRED, GO, OURS)
    ),
}
_RATIOS = {
    NGINX: "cpu_times_nginx",
    DEFERRED: "cpu_times_deferred",
    GO: "cpu_times_go",
}
"""The columns of our CPU time beside that of each other server."""
_ROUNDS = 5
_ROUND_S = 3.0
_WARM_S = 1.0
_PATIENCE_S = 240.0
# Every check is on and the limiter runs for each request, but it never refuses.
_GENEROUS = ("--general-per-s", "1000000", "--general-burst", "1000")
_STRAY_SHARE = 0.01
_OK = 200


class Series(Struct):
    """One server under one load, round by round."""

    server: Server
    target: wrk.Target
    is_refused: bool = False
    loads: list[wrk.Load] = field(default_factory=list)

    def run(self, seconds: float, patience: Patience) -> None:
        """Run a round.

        Raises:
            RuntimeError: too many responses were wrong.
        """
        load = wrk.run(self.server, self.target, seconds, patience)
        strays = load.requests - load.refused if self.is_refused else load.refused
        if strays > load.requests * _STRAY_SHARE:
            raise RuntimeError(f"{self.target.path}: {strays} wrong responses of {load.requests}")
        self.loads.append(load)

    def others(self) -> list[float]:
        """Return the share of our cores that other processes took."""
        return [load.others for load in self.loads]

    def rates(self, rounds: list[int]) -> list[float]:
        """Return requests a second."""
        return [load.requests / load.seconds for load in self._of(rounds)]

    def costs(self, rounds: list[int]) -> list[float]:
        """Return CPU microseconds a request."""
        return [load.cpu_s / load.requests * 1e6 for load in self._of(rounds)]

    def row(self) -> Row:
        """Return the figures."""
        rounds = quiet_rounds(self.others())
        return {
            "requests_per_s": spread(self.rates(rounds)),
            "cpu_us": spread(self.costs(rounds)),
            "busy": spread(load.cpu_s / load.seconds for load in self._of(rounds)),
            "others": spread(load.others for load in self._of(rounds)),
        }

    def _of(self, rounds: list[int]) -> list[wrk.Load]:
        return [self.loads[number] for number in rounds]


def measure(plan: Plan) -> dict[str, Table]:
    """Return requests a second and CPU microseconds a request."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = _servers(stack, Path(folder))
        answers = _answers(servers)
        refusals = _refusals(servers)
        all_series = [*answers.values(), *refusals.values()]
        for series in all_series:
            series.run(_WARM_S, Patience(0))
            series.loads.clear()
        patience = Patience(plan.seconds(_PATIENCE_S))
        rounds = plan.rounds(_ROUNDS)
        for number in range(rounds):
            progress(f"sockets: round {number + 1} of {rounds}, {len(all_series)} loads")
            for series in all_series:
                series.run(plan.seconds(_ROUND_S), patience)
    return {"sockets": _beside_others(answers), "refusals": _beside_success(refusals, answers)}


def row(server: str, way: str) -> str:
    """Return the name of a row: a server, and the way or the refusal."""
    return f"{server}, {way}"


def _servers(stack: ExitStack, folder: Path) -> dict[str, Server]:
    """Start every server on the server core; idle ones sleep."""
    core, _ = cores()
    servers = {OURS: stack.enter_context(openimds(*_GENEROUS, core=core))}
    with http_client(servers[OURS].address) as client:
        answer = client.send(request(INSTANCE, *METADATA))
        assert answer[0] == _OK, answer
    body = answer[1].decode()
    servers[NGINX] = stack.enter_context(nginx(body, folder, core))
    servers[DEFERRED] = stack.enter_context(nginx(body, folder, core, is_deferred=True))
    if find("go"):
        servers[GO] = stack.enter_context(net_http(body, folder, core))
    for server in servers.values():
        with http_client(server.address) as client:
            assert client.send(request(INSTANCE, *METADATA)) == answer
    return servers


def _answers(servers: dict[str, Server]) -> dict[str, Series]:
    return {
        row(name, key): Series(servers[name], way.target)
        for key, way in _WAYS.items()
        for name in way.servers
        if name in servers
    }


def _refusals(servers: dict[str, Server]) -> dict[str, Series]:
    """Return the loads of refusals without 429, of which a guest gets few a second."""
    return {
        row(OURS, refusal): Series(servers[OURS], wrk.Target(path, headers, 16), is_refused=True)
        for refusal, path, headers in (
            (NO_METADATA, INSTANCE, ()),
            (NO_PATH, "/metadata/nothing", METADATA),
        )
    }


def _beside_others(answers: dict[str, Series]) -> Table:
    rows: dict[str, Row] = {}
    for key, way in _WAYS.items():
        for name in way.servers:
            series = answers.get(row(name, key))
            if series is None:
                rows[f"{row(name, key)} (no go on this machine)"] = {}
                continue
            rows[row(name, key)] = series.row()
            for rival, measure in _RATIOS.items():
                other = answers.get(row(rival, key))
                if name == OURS and other:
                    both = quiet_rounds(series.others(), other.others())
                    rows[row(name, key)][measure] = ratio(series.costs(both), other.costs(both))
    return Table("Instance document over sockets, one core", "server", rows)


def _beside_success(refusals: dict[str, Series], answers: dict[str, Series]) -> Table:
    success = answers[row(OURS, FEW)]
    rows: dict[str, Row] = {}
    for name, series in refusals.items():
        both = quiet_rounds(series.others(), success.others())
        times = ratio(series.costs(both), success.costs(both))
        rows[name] = {**series.row(), "times_success": times}
    return Table(f"Refusals over sockets, {FEW}", "refusal", rows)
