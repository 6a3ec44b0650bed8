"""`openimds vm`: the VMs of a running server; `show` also those of a file, without a server."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import msgspec.json

from openimds.cli.client import Client, vm_path
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of, print_table
from openimds.config import LoadedVms, read_catalog, read_vms
from openimds.errors import ConfigError
from openimds.parameters import describe, nearest
from openimds.protocol.handle import instance_document, subject
from openimds.vm.decode import decode
from openimds.vm.fleet_file import fleet
from openimds.vm.serialize import vm_to_value

MERGE_PATCH = "application/merge-patch+json"
_MANY = 50
"""From so many VMs on, a terminal is shown how far the work is."""

as_json = json_instead_of("a table")


@click.group("vm")
def command() -> None:
    """Look at VMs and change them.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@options("state")
@as_json
def list_vms(*, is_json: bool, **flags: object) -> None:
    """List the VMs of a running server."""
    found = list(_client(flags).vms())
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    rows: list[tuple[str, ...]] = [
        (
            vm["name"],
            _of(vm, "vmSize"),
            _of(vm, "location"),
            _of(vm, "zone"),
            vm["origin"],
            str(vm["revision"]),
        )
        for vm in found
    ]
    print_table(("NAME", "SIZE", "LOCATION", "ZONE", "ORIGIN", "REVISION"), rows)


@command.command("show")
@click.argument("name")
@options("fleet", "document", "newest_version", "state")
@click.option("--api-version", default="", metavar="VERSION", help="Default: the newest.")
@click.option("--json", "is_compact", is_flag=True, help="The bytes that a guest gets.")
def show(name: str, api_version: str, *, is_compact: bool, **flags: object) -> None:
    """Print the instance document of a VM as a guest gets it.

    With --fleet or --document it is worked out from the file, without a server.
    """
    known = values(flags)
    if known["fleet"] or known["document"]:
        found = read_vms(known["fleet"], known["document"])
        body = _offline(found, name, api_version, known["newest_version"])
    else:
        version = f"?api-version={quote(api_version, safe='')}" if api_version else ""
        document = _client(flags).ask("GET", vm_path(name, f"/document{version}"))
        body = msgspec.json.encode(document)
    click.echo((body if is_compact else msgspec.json.format(body, indent=2)).decode())


@command.command("put")
@click.argument("file")
@options("state")
@as_json
def put(file: str, *, is_json: bool, **flags: object) -> None:
    """Make or replace VMs: FILE is a fleet file, or one VM with its name; - is stdin."""
    value = _read(file)
    try:
        wanted = fleet(value if _is_fleet(value) else _alone(value)).vms
    except ConfigError as error:
        raise error.inside(file) from None
    _put_all(
        _client(flags), [(name, vm_to_value(vm)) for name, vm in wanted.items()], is_json=is_json
    )


@command.command("patch")
@click.argument("name")
@click.argument("file")
@options("state")
@as_json
def patch(name: str, file: str, *, is_json: bool, **flags: object) -> None:
    """Change a VM by the JSON merge patch in FILE (- is stdin): null removes a member."""
    changed = _client(flags).ask("PATCH", vm_path(name), _read(file), MERGE_PATCH)
    _done([changed], "changed", is_json=is_json)


@command.command("remove")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@options("state")
def remove(names: tuple[str, ...], **flags: object) -> None:
    """Remove VMs."""
    client = _client(flags)
    for name in names:
        client.ask("DELETE", vm_path(name))
        click.echo(f"{name} removed", err=True)


@command.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@options("state")
@click.option("--dry-run", is_flag=True, help="Print what would be put, as a fleet file in JSON.")
@as_json
def import_vms(files: tuple[str, ...], *, dry_run: bool, is_json: bool, **flags: object) -> None:
    """Import VMs as other tools write them.

    What openimds capture wrote, or a captured instance document; the JSON of az vm show or list
    (with or without details) and of az network nic show, in one file or in several; an ARM
    template; a Terraform state.
    """
    from openimds.interop.importers import read as read_foreign

    read = [_read(file) for file in files]
    try:
        found = read_foreign(read[0] if len(read) == 1 else read)
    except ConfigError as error:
        raise error.inside(", ".join(files)) from None
    for one in found:
        for path in one.left_out:
            click.echo(f"{one.name}: {path} has no place in the metadata and is left out", err=True)
    if dry_run:
        vms = {one.name: one.said for one in found}
        click.echo(msgspec.json.format(msgspec.json.encode({"vms": vms}), indent=2).decode())
        return
    _put_all(_client(flags), [(one.name, one.said) for one in found], is_json=is_json)


def _put_all(client: Client, wanted: list[tuple[str, dict[str, Any]]], *, is_json: bool) -> None:
    with _progress(wanted) as going:
        made = [client.ask("PUT", vm_path(name), body) for name, body in going]
    _done(made, "put", is_json=is_json)


@contextmanager
def _progress(work: list[Any]) -> Iterator[Iterable[Any]]:
    """Show a bar on a terminal where there is much to do."""
    if len(work) < _MANY or not sys.stderr.isatty():
        yield work
        return
    with click.progressbar(work, label="VMs", file=sys.stderr) as going:
        yield going


def _done(made: list[dict[str, Any]], how: str, *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode(made).decode())
        return
    for vm in made:
        click.echo(f"{vm['name']} {how} (revision {vm['revision']})", err=True)


def _client(flags: dict[str, Any]) -> Client:
    return Client(values(flags)["state"])


def _read(file: str) -> Any:  # noqa: ANN401 - whatever the file says
    if file == "-":
        return decode(sys.stdin.buffer.read(), "stdin")
    try:
        return decode(Path(file).read_bytes(), file)
    except OSError as error:
        said_by_system = (error.strerror or str(error)).lower()
        raise ConfigError(file, said_by_system, "a file that can be read") from None


def _is_fleet(value: object) -> bool:
    return isinstance(value, dict) and "vms" in value


def _alone(value: object) -> dict[str, Any]:
    """Return the fleet of one VM that is written with its name."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ConfigError("top level", describe(value), "a fleet file, or one VM with its name")
    rest = {key: one for key, one in value.items() if key not in ("name", "revision", "origin")}
    return {"vms": {value["name"]: rest}}


def _offline(found: LoadedVms, name: str, version: str, newest: str) -> bytes:
    known = {vm.name: vm for vm in found.vms or ()}
    if name not in known:
        raise ConfigError("NAME", f'"{name}"', "one of " + ", ".join(known), nearest(name, known))
    catalog = read_catalog(newest)
    asked = version or catalog.general[-1]
    if asked not in catalog.known:
        likely = ", ".join(catalog.newest_first)
        raise ConfigError("--api-version", f'"{asked}"', f"an api-version such as {likely}")
    return instance_document(subject(known[name], catalog), asked)


def _of(vm: dict[str, Any], key: str) -> str:
    return str(vm.get("compute", {}).get(key, ""))
