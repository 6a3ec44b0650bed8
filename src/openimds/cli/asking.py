"""What `capture` and `compare` share: what is asked, how fast, and how far it is."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from openimds.capture.asker import Asker, site
from openimds.capture.pace import Pace
from openimds.capture.plan import VERSION, all_versions
from openimds.errors import ConfigError
from openimds.spec.versions import NEWEST

F = TypeVar("F", bound=Callable[..., Any])
Step = Callable[[], None]


def asking(function: F) -> F:
    """Add the options of what is asked."""
    for option in reversed(
        (
            click.option(
                "--versions",
                default="all",
                show_default=True,
                metavar="all|newest|V,V",
                help="At which api-versions; all: those that the server names or that are known.",
            ),
            click.option(
                "--attested/--no-attested",
                default=True,
                show_default=True,
                help="Ask for attested documents.",
            ),
            click.option("--extended", is_flag=True, help="Ask with extended=true, too."),
            click.option(
                "--events",
                is_flag=True,
                help="Ask for scheduled events, which Azure switches on for a day by that.",
            ),
            click.option(
                "--per-s",
                type=click.FloatRange(0, min_open=True),
                default=4,
                show_default=True,
                metavar="N",
                help="Requests a second to one server; Azure's limit is 5.",
            ),
        )
    ):
        function = option(function)
    return function


def options_of(*, attested: bool, extended: bool, events: bool) -> frozenset[str]:
    """Return the keys of the options that are wanted."""
    known = {"attested": attested, "extended": extended, "events": events}
    return frozenset(key for key, is_wanted in known.items() if is_wanted)


def asker(url: str, where: str, per_s: float) -> Asker:
    """Return who asks a URL; `where` is what gave it.

    Raises:
        ConfigError: the URL is none that can be asked.
    """
    pace = Pace(per_s, time.monotonic, time.sleep)
    return Asker(site(url, where), pace, time.monotonic)


def versions_for(wanted: str, said: Sequence[str]) -> tuple[str, ...]:
    """Return the api-versions to ask at, oldest first; `said` are those that servers name.

    Raises:
        ConfigError: something in there cannot be one.
    """
    if wanted == "all":
        return all_versions(said)
    if wanted == "newest":
        return (max(said, default=NEWEST),)
    named = [one.strip() for one in wanted.split(",")]
    for one in named:
        if not VERSION.fullmatch(one):
            raise ConfigError("--versions", f'"{one}"', "all, newest, or api-versions with commas")
    return tuple(sorted(set(named)))


@contextmanager
def progress(total: int) -> Iterator[Step]:
    """Show a bar on a terminal; what is given has to be called after each step."""
    if not _is_terminal():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=total)
        yield lambda: shown.advance(task)


def _is_terminal() -> bool:
    return sys.stderr.isatty()
