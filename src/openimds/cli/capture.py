"""`openimds capture`: what an IMDS says, to the byte, in a file."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import click

from openimds.cli.capture_options import asker, asking, heard, options_of, progress, versions_for
from openimds.credentials.keys.files import write_file
from openimds.errors import ConfigError
from openimds.facts.versions import NEWEST
from openimds.interop.capture.capture import first, survey
from openimds.interop.capture.client import CaptureClient
from openimds.interop.capture.plan import left_out, plan, said_versions
from openimds.interop.transcript.exchange import Exchange
from openimds.interop.transcript.file import Transcript
from openimds.interop.transcript.redact import redact
from openimds.interop.transcript.to_vm import has_document

REAL = "http://169.254.169.254"


@click.command("capture")
@click.option("--output", required=True, metavar="FILE", help="Where to write it.")
@click.option("--url", default=REAL, show_default=True, metavar="URL", help="Whom to ask.")
@asking
@click.option("--redact", "is_redacted", is_flag=True, help="Write stand-ins for what names you.")
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
    """Ask an IMDS all that there is to ask, and write down what it answers.

    Meant for a real Azure VM, in some 60 seconds; --document and vm import read the file, compare
    holds it against another server. Nothing is changed, and no token is asked for. FILE is for
    your eyes alone (mode 0600): it holds user data and keys, unless you say --redact.
    """
    path = _writable(output)
    who = asker(url, "--url", per_s)
    options = options_of(attested=attested, extended=extended, events=events)
    held = heard(who, _captured(who, versions, options), left_out(options))
    held = redact(held) if is_redacted else held
    write_file(path, held.to_bytes())
    _notify(output, held)


def _captured(who: CaptureClient, wanted: str, options: Collection[str]) -> Iterator[Exchange]:
    """Yield what each question brings, with a bar on a terminal."""
    # What cannot be asked is said at once.
    versions_for(wanted, ())
    named = first(who)
    said = said_versions(named)
    asked = plan(versions_for(wanted, said), options, max(said, default=NEWEST))[1:]
    yield named
    with progress(len(asked)) as step:
        for exchange in survey(who, asked):
            yield exchange
            step()


def _writable(output: str) -> Path:
    """Return where to write, before a minute of asking is lost.

    Raises:
        ConfigError: nothing can be written there.
    """
    # Where a link leads to, the file is; a pipe or a device would be replaced by one.
    path = Path(output).resolve()
    if path.exists() and not path.is_file():
        seen = "a folder" if path.is_dir() else "which is no file"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        seen = f"a folder {path.parent} that cannot be written to"
    else:
        return path
    raise ConfigError("--output", f'"{output}", {seen}', "a file that can be written")


def _notify(output: str, held: Transcript) -> None:
    answered = sum(one.answer is not None for one in held.exchanges)
    click.echo(f"{output}: {answered} answers of {held.url}", err=True)
    for one in held.exchanges:
        if one.failure:
            click.echo(f"no answer: {one.request}: {one.failure}", err=True)
    for what in held.left_out:
        click.echo(f"left out: {what}", err=True)
    if not has_document(held):
        click.echo(f"{held.url} answers no instance document: is it an IMDS?", err=True)
