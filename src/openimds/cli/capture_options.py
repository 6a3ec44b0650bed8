"""Options, transcript and progress bar that `capture` and `compare` share."""

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
from openimds.interop.capture.client import CaptureClient, imds_address
from openimds.interop.capture.plan import VERSION, all_versions
from openimds.interop.capture.question import OPTIONS, Option
from openimds.interop.capture.throttle import Throttle
from openimds.interop.transcript.exchange import Exchange
from openimds.interop.transcript.file import FORMAT, Transcript

F = TypeVar("F", bound=Callable[..., Any])
Advance = Callable[[], None]


def question_options(function: F) -> F:
    """Add the options that choose the questions, and how fast they are asked."""
    for option in reversed(
        (
            click.option(
                "--versions",
                default="all",
                show_default=True,
                metavar="all|newest|V,V",
                help="The api-versions to ask at; all: those that the server names, or known here.",
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
    """Return the flag of a row; where the default is on, it switches off."""
    flags = f"{row.flag}/--no-{row.flag[2:]}" if row.default else row.flag
    return click.option(
        flags, is_flag=True, default=row.default, show_default=row.default, help=row.help
    )


def chosen_options(*, attested: bool, extended: bool, events: bool) -> frozenset[str]:
    """Return the keys of the options that are switched on."""
    switches = {"attested": attested, "extended": extended, "events": events}
    return frozenset(key for key, is_on in switches.items() if is_on)


def client_for(url: str, where: str, per_s: float) -> CaptureClient:
    """Return a client of the IMDS at a URL; `where` names its option.

    Raises:
        ConfigError: the URL has another form, or `per_s` is not finite.
    """
    if not isfinite(per_s):  # click's range accepts NaN and infinity.
        raise ConfigError("--per-s", f'"{per_s}"', "requests a second, such as 4")
    throttle = Throttle(per_s, time.monotonic, time.sleep)
    return CaptureClient(imds_address(url, where), throttle, time.monotonic)


def read_versions(text: str, named: Sequence[str]) -> tuple[str, ...]:
    """Return the api-versions of `--versions`, oldest first; `named` are those of the servers.

    Raises:
        ConfigError: a word cannot be an api-version.
    """
    if text == "all":
        return all_versions(named)
    if text == "newest":
        return (max(named, default=NEWEST),)
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not VERSION.fullmatch(word):
            raise ConfigError("--versions", f'"{word}"', "all, newest, or api-versions with commas")
    return tuple(sorted(set(words)))


def transcript_of(
    client: CaptureClient, exchanges: Iterable[Exchange], left_out: tuple[str, ...] = ()
) -> Transcript:
    """Return the transcript of exchanges that begin now; return after the last one."""
    began = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Transcript(
        format=FORMAT,
        made_by=f"openimds {__version__}",
        url=client.address.url,
        began_at=began,
        is_redacted=False,
        left_out=left_out,
        exchanges=tuple(exchanges),
    )


@contextmanager
def progress(total: int) -> Iterator[Advance]:
    """Show a progress bar on a terminal; the yielded function advances it by one."""
    if not _is_terminal():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _is_terminal() -> bool:
    return sys.stderr.isatty()
