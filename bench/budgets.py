"""The budgets as rows: each promise, and the place of its figure in the tables."""

from collections.abc import Mapping

from msgspec import Struct

from bench import (
    changes,
    commands,
    connections,
    edits,
    faults,
    first_answer,
    flat,
    fleet,
    floods,
    host_floods,
    minting,
    operators,
    page,
    protocol,
    scale,
    signing,
    sockets,
)
from bench.figures import MEASURES, Table
from bench.guests import KINDS, NEW
from bench.harness import NO_METADATA, NO_PATH, TOO_SOON

_EQUAL = 1.05
"""Allowed ratio of two equal costs; `protocol` measures one case twice to show the noise."""


class Budget(Struct, frozen=True):
    """A bound of a figure, and the place of the figure."""

    thing: str
    table: str
    row: str
    measure: str
    most: float | None = None
    least: float | None = None


class Verdict(Struct, frozen=True):
    """A budget beside its figure; `is_met` is None without a figure."""

    thing: str
    budget: str
    measured: str
    is_met: bool | None


def _answers() -> tuple[Budget, ...]:
    beside = (
        ("cached instance GET beside nginx", sockets.FEW, "cpu_times_nginx", 1.1),
        ("unique headers beside Go's net/http", sockets.UNIQUE, "cpu_times_go", 0.5),
        ("a connection for each request beside nginx", sockets.EACH, "cpu_times_nginx", 1.0),
        ("the same, nginx with deferred accept", sockets.EACH, "cpu_times_deferred", 1.0),
    )
    row = sockets.row(sockets.OURS, sockets.FEW)
    return (
        Budget("cached instance GET over sockets", "sockets", row, "cpu_us", most=15),
        *(
            Budget(thing, "sockets", sockets.row(sockets.OURS, way), measure, most=most)
            for thing, way, measure, most in beside
        ),
    )


def _refusals() -> tuple[Budget, ...]:
    alone = [
        Budget(refusal, "protocol", refusal, "times_cached", most=_EQUAL)
        for refusal in (NO_METADATA, NO_PATH, TOO_SOON, protocol.UNKNOWN_CALLER)
    ]
    alone.append(
        Budget(protocol.UNCHANGED, "protocol", protocol.UNCHANGED, "times_changed", most=_EQUAL)
    )
    real = [
        Budget(
            f"{refusal}, over sockets",
            "refusals",
            sockets.row(sockets.OURS, refusal),
            "times_success",
            most=_EQUAL,
        )
        for refusal in (NO_METADATA, NO_PATH)
    ]
    return (*alone, *real)


def _scales() -> tuple[Budget, ...]:
    promised = ((1, 0.35, 45.0), (10_000, 1.5, 150.0), (100_000, None, 500.0))
    rows: list[Budget] = []
    for count, ready_s, memory_mb in promised:
        for ending in ("", "yaml") if count == 1 else ("json", "yaml", scale.STORED):
            row = scale.row(count, ending)
            if ready_s:
                rows.append(Budget(f"ready: {row}", "scale", row, "ready_s", most=ready_s))
            rows.append(Budget(f"memory: {row}", "scale", row, "memory_mb", most=memory_mb))
    return tuple(rows)


def _flats() -> tuple[Budget, ...]:
    return tuple(
        Budget(case, "flat", flat.row(case, flat.LARGE), "times_small_fleet", most=1.1)
        for case in (flat.AGAIN, flat.CACHED, flat.FIRST)
    )


def _operators() -> tuple[Budget, ...]:
    floods = (*operators.ADMIN, *operators.PUBLIC, operators.CHANGES, operators.LARGE)
    return tuple(
        Budget(row, "operators", row, "p99_times_idle", most=1.5)
        for flood in floods
        for row in (operators.row(flood, kind) for kind in KINDS)
    )


def _pages() -> tuple[Budget, ...]:
    titles = (*page.PATHS, page.CHANGED)
    return (
        *(Budget(f"page {title}", "pages", title, "p95_ms", most=300) for title in titles),
        *(
            Budget(row, "viewers", row, "p99_times_idle", most=1.5)
            for row in (page.row(kind) for kind in KINDS)
        ),
    )


def _floods() -> tuple[Budget, ...]:
    rows: list[Budget] = []
    for flood in floods.REQUESTS:
        rows += [
            Budget(row, "floods", row, "p99_times_idle", most=2)
            for row in (floods.row(flood, kind) for kind in KINDS)
        ]
        rows.append(Budget(f"{flood}: cost", "floods", flood, "cores_beyond_idle", most=0.1))
    new = floods.row(floods.RESET, NEW)
    return (
        *rows,
        Budget(new, "floods", new, "p99_ms", most=15),
        Budget(f"{floods.RESET}: cost", "floods", floods.RESET, "cores_beyond_idle", most=0.3),
        Budget(host_floods.OTHERS, "host_floods", host_floods.OTHERS, "p99_times_idle", most=2),
        Budget(
            f"{host_floods.FLOOD}: cost",
            "host_floods",
            host_floods.FLOOD,
            "cores_beyond_idle",
            most=0.1,
        ),
    )


def _connections() -> tuple[Budget, ...]:
    never = connections.NEVER_READING
    return (
        *(
            Budget(f"memory of a connection: {row}", "connections", row, "each_kb", most=6)
            for row in (connections.SILENT, connections.ANSWERED)
        ),
        Budget(f"memory of a connection: {never}", "connections", never, "each_mb", most=0.2),
        *(
            Budget(f"a guest's answer beside {row}", "idle_connections", row, "p99_ms", most=50)
            for row in (connections.UNKNOWN, connections.KNOWN)
        ),
    )


def _edits() -> tuple[Budget, ...]:
    one = [edits.row(edits.ONE, ending) for ending in ("json", "yaml")]
    return (
        *(Budget(f"{row}: seen", "edits", row, "done_s", most=3) for row in one),
        *(
            Budget(f"guests' p99 beside {row}", "edits", row, "p99_times_idle", most=2)
            for row in (*one, edits.EVENT, edits.LIST)
        ),
        *(
            Budget(f"longest wait beside {row}", "edits", row, "longest_ms", most=10)
            for row in (*one, edits.EVENT, edits.LIST)
        ),
    )


def _fleet() -> tuple[Budget, ...]:
    bounds = (
        (fleet.EVENT, "p99_ms", 100.0),
        (fleet.STREAMS, "p99_ms", 500.0),
        (fleet.CHURN, "cores", 0.25),
        (fleet.CHURN, "failed", 0.0),
        (fleet.SINGLES, "cores", 0.25),
        (fleet.PROBE, "p99_ms", 250.0),
        (fleet.SYNC, "done_s", 5.0),
        (fleet.SYNC, "peak_mb", 400.0),
        (fleet.HOST, "ready_s", 3.0),
        (fleet.HOST, "memory_mb", 150.0),
        (fleet.OUTAGE, "failed", 0.0),
        (fleet.RETURN, "done_s", 5.0),
        (fleet.AGAIN, "done_s", 5.0),
        (fleet.AGAIN, "vms_again", 0.0),
        (fleet.KILLED, "done_s", 5.0),
    )
    rate = Budget(fleet.CHURN, "fleet", fleet.CHURN, "changes_per_s", least=1000)
    return (
        *(Budget(row, "fleet", row, measure, most=most) for row, measure, most in bounds),
        rate,
    )


BUDGETS: tuple[Budget, ...] = (
    Budget(protocol.CACHED + ", no sockets", "protocol", protocol.CACHED, "cpu_us", most=15),
    *_answers(),
    Budget(
        "cached instance GET after faults were set and cleared, no sockets",
        "faults",
        faults.CLEARED,
        "times_without_faults",
        most=1.02,
    ),
    Budget(first_answer.FIRST, "first_answer", first_answer.FIRST, "cpu_us", most=100),
    Budget(first_answer.DOCUMENT, "first_answer", first_answer.DOCUMENT, "cpu_us", most=80),
    *_refusals(),
    *_scales(),
    *_flats(),
    *_floods(),
    *_operators(),
    *_pages(),
    *_connections(),
    *_edits(),
    Budget(commands.IDENTITIES, "commands", commands.IDENTITIES, "done_s", most=1),
    *(
        Budget(
            f"an admin change is visible ({engine})",
            "changes",
            f"{changes.VISIBLE}, {engine}",
            "p99_ms",
            most=50,
        )
        for engine in ("memory", "SQLite")
    ),
    Budget(
        "cached token GET beside the instance document, no sockets",
        "signing",
        signing.row(signing.TOKENS, signing.AGAIN),
        "times_instance",
        most=1.5,
    ),
    *(
        Budget(made, "signatures", made, "times_openssl", least=0.85)
        for made in map(signing.not_cached, (signing.TOKENS, signing.DOCUMENTS))
    ),
    *(
        Budget(f"metadata while {load} at full rate", "minting", load, "p99_times_idle", most=2)
        for load in minting.FULL_RATE
    ),
    Budget(
        f"a quiet guest's new token while {minting.CROWD}",
        "crowd",
        minting.CROWD,
        "p99_ms",
        most=500,
    ),
    Budget("the same: served", "crowd", minting.CROWD, "failed", most=0),
    *_fleet(),
)
"""In the order in which they are printed."""


def judge(tables: Mapping[str, Table]) -> list[Verdict]:
    """Return the verdicts on budgets with a table."""
    return [_judge(row, tables) for row in BUDGETS if row.table in tables]


def _judge(row: Budget, tables: Mapping[str, Table]) -> Verdict:
    measure = MEASURES[row.measure]
    bound, sign = (row.most, "≤") if row.most is not None else (row.least, "≥")
    budget = f"{sign} {bound:,.10g} {measure.heading}"
    figures = tables[row.table].rows.get(row.row, {})
    if row.measure not in figures:
        return Verdict(row.thing, budget, "not measured", None)
    figure = round(figures[row.measure].median, measure.decimals)
    is_met = (row.most is None or figure <= row.most) and (row.least is None or figure >= row.least)
    return Verdict(row.thing, budget, f"{figure:,.{measure.decimals}f}", is_met)
