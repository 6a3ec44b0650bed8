"""The real process under wrk, beside nginx: the same core, the same answer, in turns."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct, field

from bench import wrk
from bench.asking import line
from bench.figures import Plan, Row, Table, progress, ratio, spread
from bench.machine import cores
from bench.quiet import Patience, quiet_rounds
from bench.servers import Server, nginx, openimds
from bench.stage import INSTANCE, METADATA, NO_METADATA, NO_PATH, TOO_SOON, request

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
# Every check is on and the limiter is asked each time, but it never says no.
_GENEROUS = ("--general-per-s", "1000000", "--general-burst", "1000")
_STRAY_SHARE = 0.01
_OK = 200


class Contest(Struct):
    """One server asked one thing in one way, round by round."""

    server: Server
    ask: wrk.Ask
    is_refused: bool = False
    loads: list[wrk.Load] = field(default_factory=list)

    def run(self, seconds: float, patience: Patience) -> None:
        """Run a round.

        Raises:
            RuntimeError: the server answered something else than it was asked for.
        """
        load = wrk.run(self.server, self.ask, seconds, patience)
        strays = load.requests - load.refused if self.is_refused else load.refused
        if strays > load.requests * _STRAY_SHARE:
            raise RuntimeError(f"{self.ask.target}: {strays} strange answers of {load.requests}")
        self.loads.append(load)

    def others(self) -> list[float]:
        """Return what share of our cores other processes took."""
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
        contests = [*answers.values(), *refusals.values()]
        for contest in contests:
            contest.run(_WARM_S, Patience(0))
            contest.loads.clear()
        patience = Patience(plan.seconds(_PATIENCE_S))
        rounds = plan.rounds(_ROUNDS)
        for number in range(rounds):
            progress(f"sockets: round {number + 1} of {rounds}, {len(contests)} loads")
            for contest in contests:
                contest.run(plan.seconds(_ROUND_S), patience)
    return {"sockets": _against_nginx(answers), "refusals": _against_success(refusals, answers)}


def row(server: str, way: str) -> str:
    """Return the name of a row: a server, and how or what it is asked."""
    return f"{server}, {way}"


def ours(loop: str) -> str:
    """Return what our server is called on an event loop."""
    return f"openimds ({loop})"


def _servers(stack: ExitStack, folder: Path) -> dict[str, Server]:
    """Start every server on the server core. Those that are not asked sleep."""
    core, _ = cores()
    servers: dict[str, Server] = {}
    for loop in LOOPS:
        name = ours(loop)
        servers[name] = stack.enter_context(openimds("--loop", loop, *_GENEROUS, core=core))
        servers[f"{name} limited"] = stack.enter_context(openimds("--loop", loop, core=core))
    with line(servers[ours(LOOPS[0])].address) as one:
        status, body = one.ask(request(INSTANCE, *METADATA))
        assert status == _OK, status
    servers[NGINX] = stack.enter_context(nginx(body.decode(), folder, core))
    with line(servers[NGINX].address) as one:
        assert one.ask(request(INSTANCE, *METADATA)) == (status, body)
    return servers


def _answers(servers: dict[str, Server]) -> dict[str, Contest]:
    return {
        row(name, way): Contest(servers[name], wrk.Ask(INSTANCE, headers, connections))
        for way, (connections, headers) in _WAYS.items()
        for name in (NGINX, *map(ours, LOOPS))
    }


def _refusals(servers: dict[str, Server]) -> dict[str, Contest]:
    connections, _ = _WAYS[FEW]
    contests: dict[str, Contest] = {}
    for loop in LOOPS:
        server, limited = servers[ours(loop)], servers[f"{ours(loop)} limited"]
        asked: tuple[tuple[str, Server, str, tuple[str, ...]], ...] = (
            (NO_METADATA, server, INSTANCE, ()),
            (NO_PATH, server, "/metadata/nothing", METADATA),
            (TOO_SOON, limited, INSTANCE, METADATA),
        )
        for what, one, target, headers in asked:
            ask = wrk.Ask(target, headers, connections)
            contests[row(ours(loop), what)] = Contest(one, ask, is_refused=True)
    return contests


def _against_nginx(answers: dict[str, Contest]) -> Table:
    rows: dict[str, Row] = {}
    for name, contest in answers.items():
        way = name.partition(", ")[2]
        rival = answers[row(NGINX, way)]
        both = quiet_rounds(contest.others(), rival.others())
        rows[name] = {
            **contest.row(),
            "times_nginx": ratio(contest.rates(both), rival.rates(both)),
            # Where the core is not used up, wrk was the slower of the two; this does not mind.
            "per_cpu_s_times_nginx": ratio(rival.costs(both), contest.costs(both)),
        }
    return Table("Instance document over sockets, one core", "server", rows)


def _against_success(refusals: dict[str, Contest], answers: dict[str, Contest]) -> Table:
    rows: dict[str, Row] = {}
    for name, contest in refusals.items():
        server = name.partition(", ")[0]
        success = answers[row(server, FEW)]
        both = quiet_rounds(contest.others(), success.others())
        times = ratio(contest.costs(both), success.costs(both))
        rows[name] = {**contest.row(), "times_success": times}
    return Table(f"Refusals over sockets, {FEW}", "refusal", rows)
