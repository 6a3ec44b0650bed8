"""`openimds attest`: attested documents, seen by who has to trust them."""

import codecs
import sys
import threading
import time
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import click
import msgspec.json

from openimds.admin.operations import PARTS
from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.table import Cell, json_instead_of, print_table
from openimds.credentials.pki.certificates import DOMAINS
from openimds.credentials.pki.verify import VerificationCheck, VerificationReport, verify
from openimds.errors import ConfigError, Error

_TIMEOUT_S = 5
"""For each step of a fetch."""
_WHOLE_S = 10.0
"""For all of a fetch: whoever sends a byte now and then keeps nobody waiting."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MOST_BYTES = 1 << 20
_HEAD = ("CHECK", "HOLDS", "DETAIL")
_SAID = {True: "yes", False: "NO", None: "-"}
_STYLE = {True: "green", False: "bold red", None: "yellow"}


class FetchError(Error):
    """A URL that could not be fetched."""


class NoRootError(Error):
    """The certificates in use came without their root."""


@click.group("attest")
def command() -> None:
    """Look at attested documents, at what signs them, and replace it."""


@command.command("ca")
@click.option("--root", "what", flag_value="root", help="The root that is in use alone.")
@click.option("--chain", "what", flag_value="chain", help="What is in use, the root last.")
@json_instead_of("PEM")
@options("state")
def authority(what: str | None, *, is_json: bool, **flags: object) -> None:
    """Print the trust bundle of a running server as PEM: roots of now and before, then the rest."""
    found = Client(values(flags)["state"]).ask("GET", "/v1/certificates")
    used = [one for one in found["items"] if one["inUse"]]
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
    elif what == "root":
        roots = [one["pem"] for one in used if one["isRoot"]]
        if not roots:
            raise NoRootError(
                "saw no root above the certificates in use, expected one. Write the root of your "
                "own issuer at the end of the file of --attest-certificates and start again, or "
                "print what there is: openimds attest ca --chain"
            )
        click.echo("".join(roots), nl=False)
    elif what == "chain":
        click.echo("".join(one["pem"] for one in used), nl=False)
    else:
        click.echo(found["bundle"], nl=False)


@command.command("rotate")
@click.argument("part", type=click.Choice(PARTS), default="leaf")
@json_instead_of("a sentence")
@options("state")
def rotate(part: str, *, is_json: bool, **flags: object) -> None:
    """Replace the leaf, the intermediate or the root; what was there stays published.

    A new intermediate comes with new leaves, a new root with a new intermediate.
    """
    found = Client(values(flags)["state"]).ask("POST", f"/v1/certificates/rotate?part={part}")
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    used = [one["subject"] for one in found["items"] if one["inUse"]]
    click.echo(f"{part} replaced; the chain is now {' < '.join(used)}")


@command.command("verify")
@click.argument("source", metavar="FILE|URL")
@click.option("--trust", metavar="BUNDLE", help="The roots, PEM or DER; else no chain is checked.")
@click.option("--nonce", metavar="NONCE", help="What the document has to repeat.")
@click.option("--at", metavar="TIME", help="When it has to be valid, RFC 3339; default: now.")
@click.option("--domain", type=click.Choice(DOMAINS), help="Of which cloud; default: any.")
@json_instead_of("a table")
def verify_document(  # noqa: PLR0913 - each is an option
    source: str,
    trust: str | None,
    nonce: str | None,
    at: str | None,
    domain: str | None,
    *,
    is_json: bool,
) -> None:
    """Say what holds of an attested document: exit 0 if nothing fails, else 1.

    Without --trust, exit 0 means that the document is whole, and that nobody vouches for its
    signer: anybody can make such a one.

    FILE is what curl wrote (- is stdin), or the signature alone in base64, PEM or DER. A URL is
    asked as a guest would ask; it has to name the api-version. Issuers that the bundle lacks are
    fetched from where the certificates say, once signature and name hold.
    """
    report = verify(
        _document(source),
        trust=None if trust is None else _file(trust),
        nonce=nonce,
        at_s=time.time() if at is None else _moment(at),
        fetch=_issuer,
        domain=domain or "",
    )
    if is_json:
        body = {"holds": report.holds, "checks": report.checks, "payload": report.payload}
        click.echo(msgspec.json.encode(body).decode())
    else:
        print_table(_HEAD, map(_row, report.checks))
        click.echo(_verdict(report), err=True)
    sys.exit(0 if report.holds else 1)


def _document(source: str) -> bytes:
    if source == "-":
        return _unmarked(sys.stdin.buffer.read())
    if "://" in source:
        try:
            return _get(source, {"Metadata": "true"})
        except OSError as error:
            raise FetchError(f"{source}: {error}") from None
    return _unmarked(_file(source))


def _unmarked(text: bytes) -> bytes:
    """Return a text as curl wrote it, where a shell of Windows put a mark before it."""
    if text.startswith(_UTF_16):
        return text.decode("utf-16", errors="replace").encode()
    return text.removeprefix(codecs.BOM_UTF8)


def _file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise ConfigError(name, said, "a file that can be read") from None


def _moment(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ConfigError("--at", f'"{text}"', "a time like 2026-11-22T10:00:00Z")
    return found.timestamp()


def _issuer(url: str) -> bytes:
    """Return what is where a certificate says that its issuer's is.

    Without `Metadata: true`: a stranger's URL shall not ask the metadata service in our name.
    """
    return _get(url, {})


class _NoRedirect(HTTPRedirectHandler):
    """A URL in a certificate is a stranger's: it is asked for, and leads nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing; the answer is an error then."""
        return


def _opener() -> OpenerDirector:
    """Return a client for http only: no proxy knows a guest's address, no redirect is followed."""
    return build_opener(ProxyHandler({}), _NoRedirect())


def _get(url: str, headers: dict[str, str]) -> bytes:
    """Return the body of a URL, in bounded time and size.

    Raises:
        OSError: it is not http, nobody answers, the answer is an error, too large, or not whole
            in time.
    """
    got: list[bytes | OSError] = []

    def work() -> None:
        try:
            got.append(_fetched(url, headers))
        except OSError as error:
            got.append(error)

    # In a thread, as nothing else bounds the name's look-up and a head that drips, too.
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(_WHOLE_S)
    if not got:
        raise OSError(f"no whole answer within {_WHOLE_S:g} seconds")
    if isinstance(got[0], OSError):
        raise got[0]
    return got[0]


def _fetched(url: str, headers: dict[str, str]) -> bytes:
    if not url.lower().startswith("http://"):
        raise OSError("only http:// is fetched")
    asked = Request(url, headers=headers)  # noqa: S310 - http only, as just checked
    try:
        with _opener().open(asked, timeout=_TIMEOUT_S) as got:
            body: bytes = got.read(_MOST_BYTES + 1)
    except HTTPError as error:
        with error:
            said = error.read(200).decode(errors="replace")
        raise OSError(f"status {error.code} {said}".strip()) from None
    except URLError as error:
        said = getattr(error.reason, "strerror", None) or str(error.reason)
        raise OSError(said.lower()) from None
    except (HTTPException, ValueError) as error:
        raise OSError(str(error)) from None
    if len(body) > _MOST_BYTES:
        raise OSError(f"more than {_MOST_BYTES} bytes")
    return body


def _verdict(report: VerificationReport) -> str:
    failed = [check.name for check in report.checks if check.holds is False]
    if failed:
        return f"the document does not hold: {', '.join(failed)}"
    if any(check.name == "chain" and check.holds is None for check in report.checks):
        return "the document holds as far as it was checked: nobody vouches for its signer"
    return "the document holds"


def _row(check: VerificationCheck) -> tuple[Cell, ...]:
    return check.name, (_SAID[check.holds], _STYLE[check.holds]), _shown(check.detail)


def _shown(text: str) -> str:
    """Return a text without what a stranger could draw other lines or colours with."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
