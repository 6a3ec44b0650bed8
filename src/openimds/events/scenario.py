"""Scenarios under way: plans that were begun, and how far each has come."""

from collections.abc import Iterable
from hashlib import sha256

import msgspec.json
from msgspec import Struct, field
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import read_file
from openimds.parameters import describe
from openimds.protocol.events.event import MOST_S
from openimds.protocol.events.input import plans
from openimds.protocol.events.schedule import RecurringEvent, occurrences

FLEET = "fleet"
"""The name of the scenario that the fleet file or the scenario file tells."""


def read_scenario(path: str) -> tuple[RecurringEvent, ...]:
    """Read a scenario file: recurring events in a list under `events`, as in a fleet file.

    Raises:
        ConfigError: the file cannot be read or does not fit.
    """
    value = read_file(path)
    if not isinstance(value, dict) or [*value] != ["events"]:
        raise ConfigError(path, describe(value), "a mapping with events, and nothing else")
    try:
        return plans(value["events"])
    except ConfigError as error:
        raise error.inside(path) from None


class ScenarioRun(Struct, frozen=True):
    """One plan under way: its times are since 1970, and those before `until_s` are done.

    `next_s` is its next time, None when it is over; `done` is how often it has come.
    """

    plan: RecurringEvent
    until_s: float
    next_s: float | None
    done: int = 0


class Scenario(Struct, frozen=True):
    """Plans that began together."""

    name: str
    digest: str
    begun_s: float
    runs: tuple[ScenarioRun, ...] = ()


class ScenarioTable(Struct, frozen=True):
    """All scenarios that were begun, by name."""

    scenarios: dict[str, Scenario] = field(default_factory=dict)

    @property
    def due_s(self) -> float | None:
        """When the next plan brings something."""
        times = [run.next_s for one in self.scenarios.values() for run in one.runs]
        return min((at_s for at_s in times if at_s is not None), default=None)


def digest_of(plans: Iterable[RecurringEvent]) -> str:
    """Return what equal plans share."""
    return sha256(msgspec.json.encode(tuple(plans))).hexdigest()


def begin(
    book: ScenarioTable, name: str, plans: tuple[RecurringEvent, ...], now_s: float
) -> ScenarioTable:
    """Return the book with a scenario that begins now, instead of an older one of its name."""
    moved = [replace(plan, first_s=now_s + plan.first_s) for plan in plans]
    runs = tuple(_from(plan, now_s) for plan in moved)
    scenario = Scenario(name, digest_of(plans), now_s, runs)
    return replace(book, scenarios={**book.scenarios, name: scenario})


def end(book: ScenarioTable, name: str) -> ScenarioTable:
    """Return the book without a scenario."""
    rest = {key: one for key, one in book.scenarios.items() if key != name}
    return replace(book, scenarios=rest)


def next_of(
    book: ScenarioTable, now_s: float
) -> tuple[float, RecurringEvent, ScenarioTable] | None:
    """Return what comes first of all that is due, and the book after it; None if nothing is due."""
    due_s = book.due_s
    if due_s is None or due_s > now_s:
        return None
    for scenario in book.scenarios.values():
        for number, run in enumerate(scenario.runs):
            if run.next_s == due_s:
                after = _after(run, due_s)
                runs = (*scenario.runs[:number], after, *scenario.runs[number + 1 :])
                made = {**book.scenarios, scenario.name: replace(scenario, runs=runs)}
                return due_s, run.plan, replace(book, scenarios=made)
    raise AssertionError(due_s)


def _from(plan: RecurringEvent, from_s: float) -> ScenarioRun:
    # The longest gap of a plan is far below this horizon.
    found = occurrences(plan, from_s, from_s + 8 * MOST_S)
    return ScenarioRun(plan, from_s, next(found, None))


def _after(run: ScenarioRun, done_s: float) -> ScenarioRun:
    """Return a run past the time that it has come to; equal times of one plan count as one."""
    done = run.done + 1
    if done == run.plan.count:
        return ScenarioRun(run.plan, done_s, None, done)
    # The run has counted, so that the plan need not be counted through from its beginning.
    endless = replace(run.plan, count=0)
    later = (at_s for at_s in occurrences(endless, done_s, done_s + 8 * MOST_S) if at_s > done_s)
    return ScenarioRun(run.plan, done_s, next(later, None), done)
