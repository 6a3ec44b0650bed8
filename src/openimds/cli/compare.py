"""`openimds compare`: what two IMDSs do not share, row by row."""

import sys
from collections.abc import Collection, Sequence

import click
import msgspec.json

from openimds.cli.capture_options import asker, asking, heard, options_of, progress, versions_for
from openimds.cli.table import print_table
from openimds.config import read_file
from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST
from openimds.interop.capture.capture import CaptureError, first, survey
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import (
    BY_KEY,
    PlannedQuestion,
    newest_of,
    plan,
    said_versions,
    versions_of,
)
from openimds.interop.compare import Comparison, Difference, compare
from openimds.interop.transcript.exchange import Exchange
from openimds.interop.transcript.file import Transcript, read

_HEAD = ("WHAT", "WHERE", "SUBJECT", "ONE", "OTHER", "FACT", "EVIDENCE")
_LONGEST = 100
_BEFORE = 20
_NO_ROW = "no row"
_FACTS = {key: row.about for key, row in BY_KEY.items()}


@click.command("compare")
@click.argument("one", metavar="ONE")
@click.argument("other", metavar="OTHER")
@asking
@click.option("--values", "with_values", is_flag=True, help="Compare what documents say, too.")
@click.option("--json", "form", flag_value="json", help="JSON instead of a table.")
@click.option("--markdown", "form", flag_value="markdown", help="A table for an issue.")
def command(  # noqa: PLR0913 - each is an option
    one: str,
    other: str,
    versions: str,
    per_s: float,
    form: str | None,
    *,
    attested: bool,
    extended: bool,
    events: bool,
    with_values: bool,
) -> None:
    """Hold two IMDSs against each other; each is a URL, or a FILE that capture wrote.

    What is compared is how they answer: status, headers and their order, fields, types, the order
    of members, every byte of a refusal. Each difference comes with the fact that it is about (a row
    of docs/know/fidelity.md) and how sure we are of it. Exit 0: no difference, 1: some, 2: they
    could not be compared.
    """
    options = options_of(attested=attested, extended=extended, events=events)
    sides = _side("ONE", one, per_s), _side("OTHER", other, per_s)
    try:
        left, right = _transcripts(sides, versions, options)
    except CaptureError as error:
        raise ConfigError("compare", str(error), "two IMDSs that answer") from None
    if with_values and (left.is_redacted or right.is_redacted):
        raise ConfigError("--values", "a transcript of stand-ins", "two that say what they heard")
    found = compare(left, right, _FACTS, with_values=with_values)
    _SHOWN[form or ""](found)
    click.echo(_verdict(found), err=True)
    sys.exit(1 if found.differences else 0)


def _side(name: str, source: str, per_s: float) -> CaptureClient | Transcript:
    """Return whom to ask, or what was written before.

    Raises:
        ConfigError: the URL cannot be asked, or the file cannot be read.
    """
    if "://" in source:
        return asker(source, name, per_s)
    value = read_file(source)
    try:
        return read(value)
    except ConfigError as error:
        raise error.inside(source) from None


def _transcripts(
    sides: tuple[CaptureClient | Transcript, CaptureClient | Transcript],
    wanted: str,
    options: Collection[str],
) -> list[Transcript]:
    """Return what both say; a server is asked what the file on the other side was asked.

    Raises:
        CaptureError: a server does not answer.
        ConfigError: there are no such api-versions.
    """
    askers = [one for one in sides if isinstance(one, CaptureClient)]
    files = [one for one in sides if isinstance(one, Transcript)]
    if not files:
        said, asked = _of_both(askers, wanted, options)
    else:
        said, asked = [[] for _ in askers], _as_in(files[0], wanted, options)
    with progress(len(asked) * len(askers)) as step:
        for answers in zip(*(survey(one, asked) for one in askers), strict=True):
            for before, exchange in zip(said, answers, strict=True):
                before.append(exchange)
                step()
    spoken = iter(map(heard, askers, said))
    return [next(spoken) if isinstance(one, CaptureClient) else one for one in sides]


def _of_both(
    askers: Sequence[CaptureClient], wanted: str, options: Collection[str]
) -> tuple[list[list[Exchange]], tuple[PlannedQuestion, ...]]:
    """Return what both say first, and the questions at the api-versions that either names."""
    # What cannot be asked is said at once.
    versions_for(wanted, ())
    said = [[first(one)] for one in askers]
    named = [set(said_versions(one[0])) for one in said]
    newest = max(set.intersection(*named), default=NEWEST)
    return said, plan(versions_for(wanted, sorted(set.union(*named))), options, newest)[1:]


def _as_in(file: Transcript, wanted: str, options: Collection[str]) -> tuple[PlannedQuestion, ...]:
    """Return the questions that a file has the answers to, in our words and not in the file's."""
    known = versions_of(file)
    versions = known if wanted == "all" else versions_for(wanted, known)
    requests = {one.request for one in file.exchanges}
    asked = plan(versions, {*options, "extended"}, newest_of(file))
    return tuple(one for one in asked if one.request in requests)


def _verdict(found: Comparison) -> str:
    alone = [
        f"{len(requests)} of {side} alone"
        for side, requests in (("ONE", found.left_alone), ("OTHER", found.right_alone))
        if requests
    ]
    count = len(found.differences)
    many = "1 difference" if count == 1 else f"{count or 'no'} difference{'s' if count else ''}"
    left_out = f" (not compared: {', '.join(alone)})" if alone else ""
    return f"{found.compared} requests compared: {many}{left_out}"


def _row(one: Difference) -> tuple[str, ...]:
    about = f"{one.about.kind}: {one.about.name}" if one.about else ""
    mark = str(one.about.evidence.mark) if one.about else _NO_ROW
    cells = (one.kind, _where(one), one.subject, *_parted(one.left, one.right), about, mark)
    return tuple(map(_shown, cells))


def _where(one: Difference) -> str:
    """Return where a difference was found, however often that was."""
    at = one.found[0]
    if len(one.found) == 1:
        return str(at.request)
    if at.version and {each.question for each in one.found} == {at.question}:
        last = one.found[-1].version
        return f"{at.question} at {len(one.found)} api-versions, {at.version} to {last}"
    return f"{len(one.found)} requests, first {at.request}"


def _parted(one: str, other: str) -> tuple[str, str]:
    """Return two texts that are too long, each from shortly before they part."""
    if max(len(one), len(other)) <= _LONGEST:
        return one, other
    pairs = enumerate(zip(one, other, strict=False))
    parted = next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = parted - _BEFORE
    return (f"…{one[start:]}", f"…{other[start:]}") if start > 0 else (one, other)


def _shown(text: str) -> str:
    """Return a text in one line of bearable length, without what could draw on a terminal."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def _as_table(found: Comparison) -> None:
    if rows := [_row(one) for one in found.differences]:
        print_table(_HEAD, rows, folding=_HEAD)


def _as_markdown(found: Comparison) -> None:
    rows = [_row(one) for one in found.differences]
    for row in (_HEAD, ("---",) * len(_HEAD), *rows) if rows else ():
        click.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")


def _as_json(found: Comparison) -> None:
    click.echo(msgspec.json.encode(found).decode())


_SHOWN = {"": _as_table, "json": _as_json, "markdown": _as_markdown}
