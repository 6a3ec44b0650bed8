"""The real process under wrk beside nginx: same core, same response, in turns."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct, field

from bench import wrk
from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.harness import NO_METADATA, NO_PATH, TOO_SOON
from bench.http_client import http_client
from bench.machine import cores
from bench.quiet import Patience, quiet_rounds
from bench.servers import Server, nginx, openimds
from bench.targets import INSTANCE, METADATA, request

LOOPS = ("asyncio", "uvloop")
NGINX = "nginx return 200"
FEW, MANY = "16 connections", "64 connections"
EACH = "16 at once, a connection for each request"
_WAYS: dict[str, tuple[int, tuple[str, ...]]] = {
    FEW: (16, METADATA),
    MANY: (64, METADATA),
    EACH: (16, (*METADATA, "Connection: close")),
}
_ROUNDS = 5
_ROUND_S = 3.0
_WARM_S = 1.0
_PATIENCE_S = 600.0
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
    return {"sockets": _against_nginx(answers), "refusals": _against_success(refusals, answers)}


def row(server: str, way: str) -> str:
    """Return the name of a row: a server, and the way or the refusal."""
    return f"{server}, {way}"


def ours(loop: str) -> str:
    """Return the name of our server on an event loop."""
    return f"openimds ({loop})"


def _servers(stack: ExitStack, folder: Path) -> dict[str, Server]:
    """Start every server on the server core; idle ones sleep."""
    core, _ = cores()
    servers: dict[str, Server] = {}
    for loop in LOOPS:
        name = ours(loop)
        servers[name] = stack.enter_context(openimds("--loop", loop, *_GENEROUS, core=core))
        servers[f"{name} limited"] = stack.enter_context(openimds("--loop", loop, core=core))
    with http_client(servers[ours(LOOPS[0])].address) as client:
        status, body = client.send(request(INSTANCE, *METADATA))
        assert status == _OK, status
    servers[NGINX] = stack.enter_context(nginx(body.decode(), folder, core))
    with http_client(servers[NGINX].address) as client:
        assert client.send(request(INSTANCE, *METADATA)) == (status, body)
    return servers


def _answers(servers: dict[str, Server]) -> dict[str, Series]:
    return {
        row(name, way): Series(servers[name], wrk.Target(INSTANCE, headers, connections))
        for way, (connections, headers) in _WAYS.items()
        for name in (NGINX, *map(ours, LOOPS))
    }


def _refusals(servers: dict[str, Server]) -> dict[str, Series]:
    connections, _ = _WAYS[FEW]
    all_series: dict[str, Series] = {}
    for loop in LOOPS:
        server, limited = servers[ours(loop)], servers[f"{ours(loop)} limited"]
        cases: tuple[tuple[str, Server, str, tuple[str, ...]], ...] = (
            (NO_METADATA, server, INSTANCE, ()),
            (NO_PATH, server, "/metadata/nothing", METADATA),
            (TOO_SOON, limited, INSTANCE, METADATA),
        )
        for refusal, serving, path, headers in cases:
            target = wrk.Target(path, headers, connections)
            all_series[row(ours(loop), refusal)] = Series(serving, target, is_refused=True)
    return all_series


def _against_nginx(answers: dict[str, Series]) -> Table:
    rows: dict[str, Row] = {}
    for name, series in answers.items():
        way = name.partition(", ")[2]
        rival = answers[row(NGINX, way)]
        both = quiet_rounds(series.others(), rival.others())
        rows[name] = {
            **series.row(),
            "times_nginx": ratio(series.rates(both), rival.rates(both)),
            # Where the core is not used up, wrk was the slower of the two; this ratio still holds.
            "per_cpu_s_times_nginx": ratio(rival.costs(both), series.costs(both)),
        }
    return Table("Instance document over sockets, one core", "server", rows)


def _against_success(refusals: dict[str, Series], answers: dict[str, Series]) -> Table:
    rows: dict[str, Row] = {}
    for name, series in refusals.items():
        server = name.partition(", ")[0]
        success = answers[row(server, FEW)]
        both = quiet_rounds(series.others(), success.others())
        times = ratio(series.costs(both), success.costs(both))
        rows[name] = {**series.row(), "times_success": times}
    return Table(f"Refusals over sockets, {FEW}", "refusal", rows)
