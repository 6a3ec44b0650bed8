"""`openimds attest`: verify attested documents; print and rotate the certificates behind them."""

import codecs
import sys
import threading
import time
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import click

from openimds.cli.attest_columns import CERTIFICATES, CHECKS, HARDWARE, LISTS, STANDINGS
from openimds.cli.client import Client
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.rehearse import command as rehearse
from openimds.credentials.pki.authority import PARTS
from openimds.credentials.pki.certificates import DOMAINS
from openimds.credentials.pki.revocation_check import MODES, RevocationMode
from openimds.credentials.pki.verify import VerificationReport, verify
from openimds.errors import ConfigError, Error
from openimds.facts.confidential import Processor
from openimds.facts.generations import GENERATIONS
from openimds.facts.revocation import REASONS

_TIMEOUT_S = 5
"""For each step of a fetch."""
_WHOLE_S = 10.0
"""For all of a fetch: a server that sends a byte now and then cannot hold it up."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MOST_BYTES = 1 << 20


class FetchError(Error):
    """A URL could not be fetched."""


class NoRootError(Error):
    """The certificates in use came without their root."""


@click.group("attest", cls=CommandGroup)
def command() -> None:
    """Verify attested documents; print and rotate certificates."""


@command.command("ca")
@click.option("--root", "part", flag_value="root", help="Only the root that is in use.")
@click.option("--chain", "part", flag_value="chain", help="Only the chain in use, the root last.")
@click.option(
    "--of",
    "maker",
    type=click.Choice([maker.value for maker in Processor]),
    help="The roots of the processors of confidential VMs instead, or their chains.",
)
@output_options("PEM")
@options("state")
def authority(part: str | None, maker: str | None, *, output: str, **flags: object) -> None:
    """Print the trust bundle of a running server as PEM.

    The bundle has the present and former roots first, then the other certificates.
    """
    client = Client(values(flags).state)
    if maker:
        _print_hardware(client, maker, is_chain=part == "chain", output=output)
        return
    answer = client.ask("GET", "/v1/certificates")
    print_list(
        output,
        answer["items"],
        CERTIFICATES,
        "subject",
        usual=lambda: _print_pem(answer, part),
        whole=answer,
    )


def _print_pem(answer: dict[str, Any], part: str | None) -> None:
    """Print the bundle, or the root or the chain in use.

    Raises:
        NoRootError: the certificates in use came without their root.
    """
    chain = [certificate for certificate in answer["items"] if certificate["inUse"]]
    if part == "root":
        roots = [certificate["pem"] for certificate in chain if certificate["isRoot"]]
        if not roots:
            raise NoRootError(
                "saw no root above the certificates in use, expected one. Write the root of your "
                "own issuer at the end of the file of --attest-certificates and start again, or "
                "print the chain without it: openimds attest ca --chain"
            )
        click.echo("".join(roots), nl=False)
    elif part == "chain":
        click.echo("".join(certificate["pem"] for certificate in chain), nl=False)
    else:
        click.echo(answer["bundle"], nl=False)


def _print_hardware(client: Client, maker: str, *, is_chain: bool, output: str) -> None:
    answer = client.ask("GET", f"/v1/certificates/hardware?of={maker}")
    items = [one for one in answer["items"] if is_chain or one["isRoot"]]
    pem = "".join(one["pem"] for one in items)
    print_list(
        output,
        items,
        HARDWARE,
        "subject",
        usual=lambda: click.echo(pem, nl=False),
        whole=answer,
    )


@command.command("rotate")
@click.argument("part", type=click.Choice(PARTS), required=False)
@click.option(
    "--generation",
    type=click.Choice(GENERATIONS),
    help="The year of Azure's form of the new certificates; default: that of the server.",
)
@output_options("a sentence")
@options("state")
def rotate(part: str | None, generation: str | None, *, output: str, **flags: object) -> None:
    """Replace the leaf, the intermediate or the root.

    By default the leaf; with --generation the intermediate. The replaced certificates stay
    published. A new intermediate comes with new leaves, a new root with a new intermediate.
    """
    part = part or ("intermediate" if generation else "leaf")
    query = f"part={part}" + (f"&generation={generation}" if generation else "")
    answer = Client(values(flags).state).ask("POST", f"/v1/certificates/rotate?{query}")
    chain = [certificate["subject"] for certificate in answer["items"] if certificate["inUse"]]
    sentence = f"{part} replaced; the chain is now {' < '.join(chain)}"
    print_list(
        output,
        answer["items"],
        CERTIFICATES,
        "subject",
        usual=lambda: click.echo(sentence),
        whole=answer,
    )


command.add_command(rehearse)


@command.command("revoke")
@click.argument("target", metavar="leaf|intermediate|SERIAL")
@click.option("--reason", type=click.Choice(REASONS), default=REASONS[0], help="The reason.")
@output_options("a sentence")
@options("state")
def revoke(target: str, reason: str, *, output: str, **flags: object) -> None:
    """Revoke the leaves, the intermediate or a serial number.

    The lists and the OCSP responder of the public listener say so at once, and certificates in use
    are replaced: the next document verifies again.
    """
    query = f"target={quote(target, safe='')}&reason={reason}"
    answer = Client(values(flags).state).ask("POST", f"/v1/certificates/revoke?{query}")
    sentence = f"{target} revoked ({reason}); openimds attest status shows the standing of all"
    print_list(
        output,
        answer["certificates"],
        STANDINGS,
        "serial",
        usual=lambda: click.echo(sentence),
        whole=answer,
    )


@command.command("status")
@output_options()
@options("state")
def status(*, output: str, **flags: object) -> None:
    """Print the standing of the certificates."""
    answer = Client(values(flags).state).ask("GET", "/v1/certificates/revocation")
    print_list(output, answer["certificates"], STANDINGS, "serial", whole=answer)
    for sentence in answer["lacks"]:
        click.echo(sentence, err=True)


@command.command("crl")
@output_options("PEM")
@options("state")
def lists(*, output: str, **flags: object) -> None:
    """Print the lists of revoked certificates as PEM.

    The public listener serves the same lists in DER.
    """
    found = Client(values(flags).state).ask("GET", "/v1/certificates/revocation")["lists"]
    pem = "".join(one["pem"] for one in found)
    print_list(output, found, LISTS, usual=lambda: click.echo(pem, nl=False))


@command.command("verify")
@click.argument("source", metavar="FILE|URL")
@click.option("--trust", metavar="BUNDLE", help="The roots, PEM or DER; else no chain is checked.")
@click.option("--nonce", metavar="NONCE", help="The nonce that the document has to repeat.")
@click.option("--at", metavar="TIME", help="The time to verify at, RFC 3339; default: now.")
@click.option(
    "--revocation",
    type=click.Choice(MODES),
    default=MODES[0],
    help="Ask whether certificates are revoked; in hard an unknown status fails.",
    show_default=True,
)
@click.option("--domain", type=click.Choice(DOMAINS), help="The cloud's domain; default: any.")
@output_options()
def verify_document(  # noqa: PLR0913, PLR0917 - each is an option
    source: str,
    trust: str | None,
    nonce: str | None,
    at: str | None,
    domain: str | None,
    revocation: RevocationMode,
    *,
    output: str,
) -> None:
    """Verify an attested document; exit 0 or 1.

    Without --trust, exit 0 means that the document is whole, and that nothing vouches for its
    signer: anybody can make such a document.

    FILE is the output of curl (- is stdin), or the signature alone in base64, PEM or DER. A URL is
    asked as a guest would ask; it has to name the api-version. Issuers that the bundle lacks are
    fetched from the URLs in the certificates, once signature and name hold; lists of revoked
    certificates and OCSP responses, once the chain holds.
    """
    report = verify(
        _document(source),
        trust=None if trust is None else _file(trust),
        nonce=nonce,
        at_s=time.time() if at is None else _seconds(at),
        fetch=_fetch_issuer,
        domain=domain or "",
        revocation=revocation,
    )
    body = {"holds": report.holds, "checks": report.checks, "payload": report.payload}
    print_list(output, report.checks, CHECKS, CHECKS[0].cell, whole=body)
    if output not in {"json", "yaml"}:
        click.echo(_verdict(report), err=True)
    sys.exit(0 if report.holds else 1)


def _document(source: str) -> bytes:
    if source == "-":
        return _without_bom(sys.stdin.buffer.read())
    if "://" in source:
        try:
            return _get(source, {"Metadata": "true"})
        except OSError as error:
            raise FetchError(f"{source}: {error}") from None
    return _without_bom(_file(source))


def _without_bom(text: bytes) -> bytes:
    """Return a text in UTF-8 without the byte order mark that a Windows shell adds."""
    if text.startswith(_UTF_16):
        return text.decode("utf-16", errors="replace").encode()
    return text.removeprefix(codecs.BOM_UTF8)


def _file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(name, reason, "a file that can be read") from None


def _seconds(text: str) -> float:
    """Return a time with its zone in seconds since 1970.

    Raises:
        ConfigError: it is not a time of RFC 3339.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ConfigError("--at", f'"{text}"', "a time like 2026-11-22T10:00:00Z")
    return at.timestamp()


def _fetch_issuer(url: str) -> bytes:
    """Return the certificate at the issuer URL of another certificate.

    The request has no `Metadata: true`: such a URL, which anybody may have written, must not reach
    the metadata service in the name of this machine.
    """
    return _get(url, {})


class _NoRedirect(HTTPRedirectHandler):
    """Refuses redirects: anybody may have written the URL in a certificate."""

    def redirect_request(self, *_: object) -> None:
        """Return no request, so that the redirect is an HTTP error."""
        return


def _opener() -> OpenerDirector:
    """Return a client for http without proxies and redirects: no proxy knows a guest's address."""
    return build_opener(ProxyHandler({}), _NoRedirect())


def _get(url: str, headers: dict[str, str]) -> bytes:
    """Return the body of a URL, in bounded time and size.

    Raises:
        OSError: the URL is not http, the server does not answer, or its answer is an error, too
            large, or not whole in time.
    """
    result: list[bytes | OSError] = []

    def work() -> None:
        try:
            result.append(_fetch(url, headers))
        except OSError as error:
            result.append(error)

    # Only a thread bounds the name look-up and a head that arrives byte by byte.
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(_WHOLE_S)
    if not result:
        raise OSError(f"no whole answer within {_WHOLE_S:g} seconds")
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _fetch(url: str, headers: dict[str, str]) -> bytes:
    if not url.lower().startswith("http://"):
        raise OSError("only http:// is fetched")
    request = Request(url, headers=headers)  # noqa: S310 - http only, as just checked
    try:
        with _opener().open(request, timeout=_TIMEOUT_S) as response:
            body: bytes = response.read(_MOST_BYTES + 1)
    except HTTPError as error:
        with error:
            detail = error.read(200).decode(errors="replace")
        raise OSError(f"status {error.code} {detail}".strip()) from None
    except URLError as error:
        reason = getattr(error.reason, "strerror", None) or str(error.reason)
        raise OSError(reason.lower()) from None
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
        return "the document holds, but its chain was not checked: nothing vouches for its signer"
    return "the document holds"
