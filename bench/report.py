"""Reports of the tables: text, JSON in the repository, a page of the docs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec.json
from msgspec import Struct

from bench.budgets import Verdict
from bench.figures import MEASURES, Spread, Table

_HERE = Path(__file__).parent
RESULTS = _HERE / "results" / "latest.json"
PAGE = _HERE.parent / "docs" / "know" / "performance.md"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
_WORDS = {True: "met", False: "MISSED", None: "-"}


class Results(Struct, frozen=True):
    """One full run."""

    machine: dict[str, str]
    tables: dict[str, Table]
    budgets: list[Verdict]


def text(tables: Mapping[str, Table], verdicts: list[Verdict]) -> str:
    """Return everything as aligned text."""
    parts = [f"{table.title}\n\n{_aligned(_cells(table))}" for table in tables.values()]
    parts.append(f"Budgets\n\n{_aligned(_judged(verdicts))}")
    return "\n\n\n".join(parts)


def keep(results: Results) -> None:
    """Write the results of a full run."""
    RESULTS.parent.mkdir(exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=1)
    RESULTS.write_bytes(encoded + b"\n")


def kept() -> Results:
    """Return the results of the last full run."""
    return msgspec.json.decode(RESULTS.read_bytes(), type=Results)


def write_page(results: Results) -> None:
    """Write the figures into the page, between its two marks."""
    page = PAGE.read_text("utf-8")
    before, rest = page.split(_BEGIN)
    after = rest.split(_END)[1]
    PAGE.write_text(f"{before}{_BEGIN}\n{_markdown(results)}\n{_END}{after}", "utf-8")


def _markdown(results: Results) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    missed = [row for row in results.budgets if row.is_met is False]
    parts = [
        f"Measured on: {machine}.",
        "### Budgets",
        _piped(_judged(results.budgets)),
        "### Missed",
        "\n".join(f"- {row.thing}: {row.measured}, budget {row.budget}" for row in missed)
        or "None.",
    ]
    for table in results.tables.values():
        parts += [f"### {table.title}", _piped(_cells(table))]
    return "\n\n".join(parts)


def _cells(table: Table) -> list[Sequence[str]]:
    measures = table.measures()
    rows: list[Sequence[str]] = [(table.subject, *(MEASURES[key].heading for key in measures))]
    for name, row in table.rows.items():
        rows.append((name, *(_cell(row.get(key), MEASURES[key].decimals) for key in measures)))
    return rows


def _cell(spread: Spread | None, decimals: int) -> str:
    if spread is None:
        return ""
    middle, low, high = (
        f"{value:,.{decimals}f}" for value in (spread.median, spread.low, spread.high)
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def _judged(verdicts: list[Verdict]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("figure", "budget", "measured", "verdict")]
    rows += [(row.thing, row.budget, row.measured, _WORDS[row.is_met]) for row in verdicts]
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns: the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join((first.ljust(widths[0]), *cells)).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _piped(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * (len(rows[0]) - 1) + "|")
    return "\n".join(lines)
