"""`openimds capture`: record every answer of an IMDS in a file, byte for byte."""

import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from msgspec import structs

from openimds.cli.capture_options import (
    chosen_options,
    client_for,
    progress,
    question_options,
    read_versions,
    transcript_of,
)
from openimds.credentials.keys.files import write_file
from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST
from openimds.interop.capture.capture import ask_all, ask_first
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import named_versions, omissions, plan
from openimds.interop.transcript.exchange import Exchange
from openimds.interop.transcript.file import Transcript
from openimds.interop.transcript.redact import redact
from openimds.interop.transcript.to_vm import has_document

REAL = "http://169.254.169.254"
_INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell has it."""


@click.command("capture")
@click.option("--output", required=True, metavar="FILE", help="The file to write.")
@click.option("--url", default=REAL, show_default=True, metavar="URL", help="The IMDS to ask.")
@question_options
@click.option(
    "--redact", "is_redacted", is_flag=True, help="Replace names, ids, keys, addresses and data."
)
def command(  # noqa: PLR0913 - each is an option
    output: str,
    url: str,
    versions: str,
    per_s: float,
    *,
    attested: bool,
    extended: bool,
    events: bool,
    is_redacted: bool,
) -> None:
    """Record every answer of an IMDS in a file.

    Meant for a real Azure VM, in some 60 seconds; --document and vm import read the file, compare
    compares it with another server. Nothing is changed, and no token is asked for. FILE is for
    your eyes alone (mode 0600): it holds user data and keys, unless you use --redact. Ctrl-C ends
    the recording early: FILE has the answers until then, and the exit code is 130.
    """
    path = _writable(output)
    client = client_for(url, "--url", per_s)
    options = chosen_options(attested=attested, extended=extended, events=events)
    unasked: list[int] = []
    with _first_interrupt() as is_interrupted:
        captured = _captured(client, versions, options, is_interrupted, unasked)
        transcript = transcript_of(client, captured, omissions(options))
        if unasked:
            left_out = (*transcript.left_out, f"{unasked[0]} questions after Ctrl-C")
            transcript = structs.replace(transcript, left_out=left_out)
        transcript = redact(transcript) if is_redacted else transcript
        write_file(path, transcript.to_bytes())
    _notify(output, transcript)
    if unasked:
        sys.exit(_INTERRUPTED)


@contextmanager
def _first_interrupt() -> Iterator[Callable[[], bool]]:
    """Note the first Ctrl-C instead of ending the process; the second one ends it.

    The yielded function tells whether there was one.
    """
    seen: list[int] = []
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, _: object) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, usual)
        click.echo("stopping after this request; Ctrl-C again drops all answers", err=True)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, usual)


def _captured(
    client: CaptureClient,
    versions: str,
    options: Collection[str],
    is_interrupted: Callable[[], bool],
    unasked: list[int],
) -> Iterator[Exchange]:
    """Yield the exchange of each question, with a progress bar on a terminal.

    After an interrupt the number of the other questions is added to `unasked`.
    """
    # A malformed --versions is refused before the first request.
    read_versions(versions, ())
    first = ask_first(client)
    named = named_versions(first)
    questions = plan(read_versions(versions, named), options, max(named, default=NEWEST))[1:]
    yield first
    with progress(len(questions)) as advance:
        for asked, exchange in enumerate(ask_all(client, questions), 1):
            yield exchange
            advance()
            if is_interrupted() and asked < len(questions):
                unasked.append(len(questions) - asked)
                return


def _writable(output: str) -> Path:
    """Return the path of the file, checked before a minute of requests would be lost.

    Raises:
        ConfigError: no file can be written there.
    """
    # A link is followed to its file; a pipe or a device would be replaced by a file.
    path = Path(output).resolve()
    if path.exists() and not path.is_file():
        seen = "a folder" if path.is_dir() else "which is not a regular file"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        seen = f"a folder {path.parent} that cannot be written to"
    else:
        return path
    raise ConfigError("--output", f'"{output}", {seen}', "a file that can be written")


def _notify(output: str, transcript: Transcript) -> None:
    answers = sum(exchange.answer is not None for exchange in transcript.exchanges)
    click.echo(f"{output}: {answers} answers of {transcript.url}", err=True)
    for exchange in transcript.exchanges:
        if exchange.failure:
            click.echo(f"no answer: {exchange.request}: {exchange.failure}", err=True)
    for sentence in transcript.left_out:
        click.echo(f"left out: {sentence}", err=True)
    if not has_document(transcript):
        click.echo(f"{transcript.url} answers no instance document: is it an IMDS?", err=True)
