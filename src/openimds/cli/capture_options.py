"""What `capture` and `compare` share: what is asked, how fast, and how far it is."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeVar

import click

from openimds import __version__
from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST
from openimds.interop.capture.client import CaptureClient, site
from openimds.interop.capture.plan import VERSION, all_versions
from openimds.interop.capture.question import OPTIONS, Option
from openimds.interop.capture.throttle import Throttle
from openimds.interop.transcript.exchange import Exchange
from openimds.interop.transcript.file import FORMAT, Transcript

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
            *(_switch(row) for row in OPTIONS.values()),
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


def _switch(row: Option) -> Callable[[F], F]:
    """Return the option of a row; what is on is switched off."""
    spelled = f"{row.flag}/--no-{row.flag[2:]}" if row.default else row.flag
    return click.option(
        spelled, is_flag=True, default=row.default, show_default=row.default, help=row.help
    )


def options_of(*, attested: bool, extended: bool, events: bool) -> frozenset[str]:
    """Return the keys of the options that are wanted."""
    known = {"attested": attested, "extended": extended, "events": events}
    return frozenset(key for key, is_wanted in known.items() if is_wanted)


def asker(url: str, where: str, per_s: float) -> CaptureClient:
    """Return who asks a URL; `where` is what gave it.

    Raises:
        ConfigError: the URL is none that can be asked, or the pace is none.
    """
    if not isfinite(per_s):  # click's range lets it pass.
        raise ConfigError("--per-s", f'"{per_s}"', "requests a second, such as 4")
    pace = Throttle(per_s, time.monotonic, time.sleep)
    return CaptureClient(site(url, where), pace, time.monotonic)


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


def heard(
    who: CaptureClient, exchanges: Iterable[Exchange], left_out: tuple[str, ...] = ()
) -> Transcript:
    """Return what somebody is heard to say from now on, once it is at its end."""
    began = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Transcript(
        format=FORMAT,
        made_by=f"openimds {__version__}",
        url=who.site.url,
        began_at=began,
        is_redacted=False,
        left_out=left_out,
        exchanges=tuple(exchanges),
    )


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
