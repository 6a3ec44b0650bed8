"""Scenarios under way: their recurring events, and how far each has come."""

from collections.abc import Iterable
from hashlib import sha256

import msgspec.json
from msgspec import Struct, field
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import read_file
from openimds.parameters import describe
from openimds.protocol.events.request import MOST_S
from openimds.protocol.events.schedule import RecurringEvent, occurrences, read_lines

FLEET = "fleet"
"""The name of the scenario in the fleet file or the scenario file."""

_DIGESTED = (
    "event_type",
    "vms",
    "first_s",
    "every_s",
    "mean_s",
    "seed",
    "count",
    "notice_s",
    "duration_s",
    "life_s",
    "description",
    "source",
    "needs",
)
"""The digested fields in the order of 0.1.0, so that an upgrade begins no scenario anew."""


def read_scenario(path: str) -> tuple[RecurringEvent, ...]:
    """Read a scenario file: a mapping with `events`, as in a fleet file.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    value = read_file(path)
    if not isinstance(value, dict) or [*value] != ["events"]:
        raise ConfigError(path, describe(value), "a mapping with events, and nothing else")
    try:
        return read_lines(value["events"])
    except ConfigError as error:
        raise error.inside(path) from None


class ScenarioRun(Struct, frozen=True):
    """One recurring event under way; its times are seconds since 1970.

    The times before `until_s` are done. `next_s` is the next one, None after the last; `done` is
    their number so far.
    """

    recurring: RecurringEvent = field(name="plan")  # The name in the stores of 0.1.0.
    until_s: float
    next_s: float | None
    done: int = 0


class Scenario(Struct, frozen=True):
    """Recurring events that began together."""

    name: str
    digest: str
    begun_s: float
    runs: tuple[ScenarioRun, ...] = ()


class ScenarioTable(Struct, frozen=True):
    """All scenarios under way, by name."""

    scenarios: dict[str, Scenario] = field(default_factory=dict)

    @property
    def due_s(self) -> float | None:
        """The next time of any recurring event, or None."""
        times = [run.next_s for scenario in self.scenarios.values() for run in scenario.runs]
        return min((at_s for at_s in times if at_s is not None), default=None)


def digest_of(lines: Iterable[RecurringEvent]) -> str:
    """Return the digest that equal scenarios share."""
    digested = [{name: getattr(line, name) for name in _DIGESTED} for line in lines]
    return sha256(msgspec.json.encode(digested)).hexdigest()


def begin(
    table: ScenarioTable, name: str, lines: tuple[RecurringEvent, ...], now_s: float
) -> ScenarioTable:
    """Return the table with a scenario that begins now, replacing its namesake."""
    moved = [replace(line, first_s=now_s + line.first_s) for line in lines]
    runs = tuple(_from(line, now_s) for line in moved)
    scenario = Scenario(name, digest_of(lines), now_s, runs)
    return replace(table, scenarios={**table.scenarios, name: scenario})


def end(table: ScenarioTable, name: str) -> ScenarioTable:
    """Return the table without a scenario."""
    rest = {key: scenario for key, scenario in table.scenarios.items() if key != name}
    return replace(table, scenarios=rest)


def next_of(
    table: ScenarioTable, now_s: float
) -> tuple[float, RecurringEvent, ScenarioTable] | None:
    """Return the first due time, its event and the next table, or None."""
    due_s = table.due_s
    if due_s is None or due_s > now_s:
        return None
    for scenario in table.scenarios.values():
        for place, run in enumerate(scenario.runs):
            if run.next_s == due_s:
                runs = (*scenario.runs[:place], _after(run, due_s), *scenario.runs[place + 1 :])
                scenarios = {**table.scenarios, scenario.name: replace(scenario, runs=runs)}
                return due_s, run.recurring, replace(table, scenarios=scenarios)
    raise AssertionError(due_s)


def _from(recurring: RecurringEvent, from_s: float) -> ScenarioRun:
    # The longest gap is far below this horizon.
    times = occurrences(recurring, from_s, from_s + 8 * MOST_S)
    return ScenarioRun(recurring, from_s, next(times, None))


def _after(run: ScenarioRun, done_s: float) -> ScenarioRun:
    """Return a run past a time; equal times of one recurring event count as one."""
    done = run.done + 1
    if done == run.recurring.count:
        return ScenarioRun(run.recurring, done_s, None, done)
    # The run has the count, so that the times need not be counted from the first.
    endless = replace(run.recurring, count=0)
    later = (at_s for at_s in occurrences(endless, done_s, done_s + 8 * MOST_S) if at_s > done_s)
    return ScenarioRun(run.recurring, done_s, next(later, None), done)
