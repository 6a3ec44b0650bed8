"""`openimds compare`: the differences between two IMDSs, a row for each."""

import sys
from collections.abc import Callable, Collection, Sequence

import click

from openimds.cli.capture_options import (
    chosen_options,
    client_for,
    progress,
    question_options,
    read_versions,
    transcript_of,
)
from openimds.cli.output import output_options, print_list
from openimds.cli.table import Column, printable
from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST
from openimds.fleet.fleet_files import read_file
from openimds.interop.capture.capture import CaptureError, ask_all, ask_first
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import (
    BY_KEY,
    PlannedQuestion,
    named_versions,
    newest_of,
    plan,
    versions_of,
)
from openimds.interop.compare import Comparison, Difference, compare
from openimds.interop.transcript.exchange import Exchange
from openimds.interop.transcript.file import Transcript, read

_HEAD = ("WHAT", "WHERE", "SUBJECT", "ONE", "OTHER", "FACT", "EVIDENCE")
_LONGEST = 100
_CONTEXT = 20
"""Characters that are shown before the place where two long texts part."""
_NO_ROW = "no row"
_FACTS = {key: row.about for key, row in BY_KEY.items()}


@click.command("compare")
@click.argument("one", metavar="ONE")
@click.argument("other", metavar="OTHER")
@question_options
@click.option("--values", "with_values", is_flag=True, help="Compare the values in documents, too.")
@click.option("--markdown", "is_markdown", is_flag=True, help="A table for an issue.")
@output_options(has_names=False)
def command(  # noqa: PLR0913 - each is an option
    one: str,
    other: str,
    versions: str,
    per_s: float,
    *,
    attested: bool,
    extended: bool,
    events: bool,
    with_values: bool,
    is_markdown: bool,
    output: str,
) -> None:
    """Compare the answers of two IMDSs.

    Each is a URL, or a FILE of openimds capture. Compared are status, headers and their order,
    fields, types, the order of members, and every byte of a refusal. Each difference is printed
    with the fact that it is about (a row of docs/know/fidelity.md) and the evidence of that fact.
    Exit 0: no difference, 1: some, 2: they could not be compared.
    """
    options = chosen_options(attested=attested, extended=extended, events=events)
    sides = _side("ONE", one, per_s), _side("OTHER", other, per_s)
    try:
        left, right = _transcripts(sides, versions, options)
    except CaptureError as error:
        raise ConfigError("compare", str(error), "two IMDSs that answer") from None
    if with_values and (left.is_redacted or right.is_redacted):
        raise ConfigError("--values", "a redacted transcript", "two that are not redacted")
    comparison = compare(left, right, _FACTS, with_values=with_values)
    if is_markdown:
        _print_markdown(comparison)
    elif comparison.differences or output:
        print_list(output, comparison.differences, _COLUMNS, whole=comparison)
    click.echo(_verdict(comparison), err=True)
    sys.exit(1 if comparison.differences else 0)


def _side(name: str, source: str, per_s: float) -> CaptureClient | Transcript:
    """Return a client of the IMDS at a URL, or the transcript in a file.

    Raises:
        ConfigError: the URL has another form, or the file cannot be read.
    """
    if "://" in source:
        return client_for(source, name, per_s)
    value = read_file(source)
    try:
        return read(value)
    except ConfigError as error:
        raise error.inside(source) from None


def _transcripts(
    sides: tuple[CaptureClient | Transcript, CaptureClient | Transcript],
    versions: str,
    options: Collection[str],
) -> list[Transcript]:
    """Return the transcripts of both sides.

    A server beside a file is asked the questions that the file answers.

    Raises:
        CaptureError: a server does not answer.
        ConfigError: `versions` has a word that cannot be an api-version.
    """
    clients = [side for side in sides if isinstance(side, CaptureClient)]
    files = [side for side in sides if isinstance(side, Transcript)]
    if not files:
        recorded, questions = _first_of_each(clients, versions, options)
    else:
        recorded, questions = [[] for _ in clients], _questions_of(files[0], versions, options)
    with progress(len(questions) * len(clients)) as advance:
        for answers in zip(*(ask_all(client, questions) for client in clients), strict=True):
            for exchanges, exchange in zip(recorded, answers, strict=True):
                exchanges.append(exchange)
                advance()
    asked = iter(map(transcript_of, clients, recorded))
    return [next(asked) if isinstance(side, CaptureClient) else side for side in sides]


def _first_of_each(
    clients: Sequence[CaptureClient], versions: str, options: Collection[str]
) -> tuple[list[list[Exchange]], tuple[PlannedQuestion, ...]]:
    """Return the first exchange of each server, and the other questions for both.

    They are asked at the api-versions that either server names, or at the newest that both name.
    """
    # A malformed --versions is refused before the first request.
    read_versions(versions, ())
    recorded = [[ask_first(client)] for client in clients]
    named = [set(named_versions(exchanges[0])) for exchanges in recorded]
    newest = max(set.intersection(*named), default=NEWEST)
    every = read_versions(versions, sorted(set.union(*named)))
    return recorded, plan(every, options, newest)[1:]


def _questions_of(
    file: Transcript, versions: str, options: Collection[str]
) -> tuple[PlannedQuestion, ...]:
    """Return the planned questions that a file answers.

    A file may come from anybody: its own requests are only looked up in the plan, and never sent.
    """
    in_file = versions_of(file)
    chosen = in_file if versions == "all" else read_versions(versions, in_file)
    requests = {exchange.request for exchange in file.exchanges}
    questions = plan(chosen, {*options, "extended"}, newest_of(file))
    return tuple(question for question in questions if question.request in requests)


def _verdict(comparison: Comparison) -> str:
    alone = [
        f"{len(requests)} of {side} alone"
        for side, requests in (("ONE", comparison.left_alone), ("OTHER", comparison.right_alone))
        if requests
    ]
    count = len(comparison.differences)
    many = "1 difference" if count == 1 else f"{count or 'no'} difference{'s' if count else ''}"
    left_out = f" (not compared: {', '.join(alone)})" if alone else ""
    return f"{comparison.compared} requests compared: {many}{left_out}"


def _row(difference: Difference) -> tuple[str, ...]:
    fact = difference.about
    about = f"{fact.kind}: {fact.name}" if fact else ""
    mark = str(fact.evidence.mark) if fact else _NO_ROW
    texts = _from_difference(difference.left, difference.right)
    cells = (difference.kind, _where(difference), difference.subject, *texts, about, mark)
    return tuple(map(_shortened, cells))


def _where(difference: Difference) -> str:
    """Return the request of a difference, or a summary of all its requests."""
    first = difference.found[0]
    if len(difference.found) == 1:
        return str(first.request)
    if first.version and {at.question for at in difference.found} == {first.question}:
        last = difference.found[-1].version
        count = len(difference.found)
        return f"{first.question} at {count} api-versions, {first.version} to {last}"
    return f"{len(difference.found)} requests, first {first.request}"


def _from_difference(one: str, other: str) -> tuple[str, str]:
    """Return two long texts from shortly before the place where they part."""
    if max(len(one), len(other)) <= _LONGEST:
        return one, other
    pairs = enumerate(zip(one, other, strict=False))
    at = next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = at - _CONTEXT
    return (f"…{one[start:]}", f"…{other[start:]}") if start > 0 else (one, other)


def _shortened(text: str) -> str:
    """Return a text cut to one line, with its control characters escaped."""
    plain = printable(text)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def _cell(place: int) -> Callable[[Difference], str]:
    return lambda difference: _row(difference)[place]


_COLUMNS = tuple(Column(head, _cell(place), wrap="letters") for place, head in enumerate(_HEAD))


def _print_markdown(comparison: Comparison) -> None:
    rows = [_row(difference) for difference in comparison.differences]
    for row in (_HEAD, ("---",) * len(_HEAD), *rows) if rows else ():
        click.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
