"""`openimds vm`: the VMs of a running server, or with `show` those of a file."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import msgspec.json

from openimds.cli.client import Client, vm_path
from openimds.cli.main import options, values
from openimds.cli.table import json_instead_of, print_table
from openimds.errors import ConfigError
from openimds.fleet.quarantine import QuarantinedVm, notices
from openimds.parameters import describe, nearest

if TYPE_CHECKING:
    from openimds.interop.importers import ImportedVm
    from openimds.vm.types import Vm

_INCOMPLETE = 3
"""Exit status of an import of which values could not be read."""
_LARGEST_IMPORT = 100 * 10**6
"""Bytes of a file to import: a state or a template of Azure is far smaller."""
_LONGEST_SHOWN = 200
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""The byte order marks of UTF-16."""
MERGE_PATCH = "application/merge-patch+json"
_MANY = 50
"""From this many VMs on, a terminal is shown a progress bar."""

as_json = json_instead_of("a table")


@click.group("vm")
def command() -> None:
    """List, show, import, change and remove VMs.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@options("state")
@as_json
def list_vms(*, is_json: bool, **flags: object) -> None:
    """List the VMs of a running server.

    A quarantined VM is stored but not served; the reason is printed on stderr.
    """
    vms = list(_client(flags).vms())
    if is_json:
        click.echo(msgspec.json.encode(vms).decode())
        return
    rows: list[tuple[str, ...]] = [
        (
            vm["name"],
            _compute(vm, "vmSize"),
            _compute(vm, "location"),
            _compute(vm, "zone"),
            vm["origin"],
            str(vm["revision"]),
            "quarantined" if "quarantined" in vm else "served",
        )
        for vm in vms
    ]
    print_table(("NAME", "SIZE", "LOCATION", "ZONE", "ORIGIN", "REVISION", "STATE"), rows)
    absent = {
        vm["name"]: QuarantinedVm(vm["name"], vm["quarantined"])
        for vm in vms
        if "quarantined" in vm
    }
    for notice in notices(absent):
        click.echo(notice, err=True)


@command.command("show")
@click.argument("name")
@options("fleet", "document", "newest_version", "state")
@click.option("--api-version", default="", metavar="VERSION", help="Default: the newest.")
@click.option("--json", "is_compact", is_flag=True, help="The bytes that a guest gets.")
def show(name: str, api_version: str, *, is_compact: bool, **flags: object) -> None:
    """Print the instance document of a VM as a guest gets it.

    With --fleet or --document it is made from the file, without a server.
    """
    settings = values(flags)
    if settings.fleet or settings.document:
        from openimds.fleet.fleet_files import read_document, read_fleet
        from openimds.server.settings_check import check_source

        check_source(settings)
        vms = (
            read_fleet(settings.fleet).vms
            if settings.fleet
            else [read_document(settings.document).vm]
        )
        body = _document(vms, name, api_version, settings.newest_version)
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
    """Create or replace the VMs of a fleet file (- is stdin).

    FILE may also be one VM with its name.
    """
    from openimds.vm.fleet_file import parse_fleet
    from openimds.vm.serialize import vm_to_value

    value = _read(file)
    try:
        vms = parse_fleet(value if _is_fleet(value) else _as_fleet(value)).vms
    except ConfigError as error:
        raise error.inside(file) from None
    bodies = [(name, vm_to_value(vm)) for name, vm in vms.items()]
    _put_all(_client(flags), bodies, is_json=is_json)


@command.command("patch")
@click.argument("name")
@click.argument("file")
@options("state")
@as_json
def patch(name: str, file: str, *, is_json: bool, **flags: object) -> None:
    """Apply the JSON merge patch in FILE (- is stdin) to a VM.

    In a merge patch (RFC 7396), null removes a member.
    """
    changed = _client(flags).ask("PATCH", vm_path(name), _read(file), MERGE_PATCH)
    _print_changed([changed], "changed", is_json=is_json)


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
@click.option("--dry-run", is_flag=True, help="Print the VMs as a fleet file in JSON instead.")
@click.option("--partial", is_flag=True, help="Import without the values that could not be read.")
@click.option("--subscription", default="", metavar="GUID", help="Subscription of a template.")
@click.option("--resource-group", default="", metavar="NAME", help="Resource group of a template.")
@click.option("--location", default="", metavar="REGION", help="Location of that group.")
@as_json
def import_vms(
    files: tuple[str, ...],
    *,
    dry_run: bool,
    partial: bool,
    is_json: bool,
    **flags: object,
) -> None:
    """Import VMs from files of other tools.

    These are: a file of openimds capture, a captured instance document, or a dump of cloud-init,
    facter or Ohai; the JSON of az vm show or list (with or without details) and of az network nic
    show, in one file or in several; an ARM template, also as Bicep compiles it, with its parameter
    files; a Terraform state or plan; the XML of virsh dumpxml; qm config of Proxmox, or its JSON.

    Each value without a place in the metadata is listed. If a value with a place could not be read,
    it is listed with the reason, nothing is imported, and the exit status is 3.
    """
    from openimds.interop.importers import Deployment, read_files

    inputs = {file: _read_import(file) for file in files}
    place = (str(flags.pop(name)) for name in ("subscription", "resource_group", "location"))
    imported = read_files(inputs, Deployment(*place))
    for vm in imported:
        for line in _import_notices(vm):
            click.echo(f"{vm.name}: {line}", err=True)
    if not partial and (count := sum(len(vm.unread) for vm in imported)):
        values = f"{count} values" if count > 1 else "1 value"
        click.echo(
            f"openimds: {values} could not be read, and nothing was imported. "
            "Give what is missing, or --partial to import without",
            err=True,
        )
        sys.exit(_INCOMPLETE)
    if dry_run:
        vms = {vm.name: vm.definition for vm in imported}
        click.echo(msgspec.json.format(msgspec.json.encode({"vms": vms}), indent=2).decode())
        return
    _put_all(_client(flags), [(vm.name, vm.definition) for vm in imported], is_json=is_json)


def _import_notices(vm: "ImportedVm") -> Iterator[str]:
    """Yield a line for each value of an import that was not taken as is."""
    for path in vm.unmapped:
        yield f"{path} has no place in the metadata and is left out"
    for path in vm.stand_ins:
        yield f"{path} holds a stand-in for uniqueString() or guid(): Azure makes another"
    for path, expression, reason in vm.unread:
        text = f": {_shortened(expression)}" if expression else ""
        yield f"{path} could not be read{text}: {reason}"


def _shortened(expression: str) -> str:
    """Return an expression of at most some 200 characters, on one line."""
    line = " ".join(expression.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"


def _put_all(client: Client, bodies: list[tuple[str, dict[str, Any]]], *, is_json: bool) -> None:
    with _progress(bodies) as pending:
        vms = [client.ask("PUT", vm_path(name), body) for name, body in pending]
    _print_changed(vms, "put", is_json=is_json)


@contextmanager
def _progress(work: list[Any]) -> Iterator[Iterable[Any]]:
    """Yield the work; with much of it, show a progress bar on a terminal."""
    if len(work) < _MANY or not sys.stderr.isatty():
        yield work
        return
    with click.progressbar(work, label="VMs", file=sys.stderr) as pending:
        yield pending


def _print_changed(vms: list[dict[str, Any]], change: str, *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode(vms).decode())
        return
    for vm in vms:
        click.echo(f"{vm['name']} {change} (revision {vm['revision']})", err=True)


def _client(flags: dict[str, Any]) -> Client:
    return Client(values(flags).state)


def _read(file: str) -> Any:  # noqa: ANN401 - any JSON, YAML or TOML value
    from openimds.vm.decode import decode

    return decode(*_bytes_of(file))


def _read_import(file: str) -> Any:  # noqa: ANN401 - a value of another tool
    """Return the value in a file of another tool.

    Raises:
        ConfigError: the file cannot be read, is too large, or is not of its format.
    """
    from openimds.interop.importers import parse_text, source_hint, without_comments
    from openimds.vm.decode import decode

    data, file = _bytes_of(file, _LARGEST_IMPORT)
    if data.startswith(_UTF_16):  # As PowerShell 5 redirects output.
        data = data.decode("utf-16", "replace").encode()
    try:
        value = parse_text(data.decode("utf-8-sig", "replace"))
    except ConfigError as error:
        raise error.inside(file) from None
    if value is not None:
        return value
    hint = source_hint(data)
    try:
        value = decode(data, file)
    except ConfigError as error:
        text = data.decode("utf-8-sig", "replace")
        if text.lstrip().startswith(("{", "/")) and (plain := without_comments(text)) != text:
            return decode(plain.encode(), file)
        raise ConfigError(error.where, error.seen, error.expected, hint or error.hint) from None
    if hint and not isinstance(value, dict | list):
        raise ConfigError(file, "a source text", "a file with VMs", hint)
    return value


def _bytes_of(file: str, most: int = -1) -> tuple[bytes, str]:
    """Return the bytes of a file or of stdin, and its name.

    `most` bounds the bytes unless it is -1.

    Raises:
        ConfigError: the file cannot be read, or is too large.
    """
    count = most + 1 if most >= 0 else -1
    if file == "-":
        file, data = "stdin", sys.stdin.buffer.read(count)
    else:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(count)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(file, reason, "a file that can be read") from None
    if 0 <= most < len(data):
        size = f"{most // 10**6} MB"
        raise ConfigError(file, f"more than {size}", f"a file of at most {size}")
    return data, file


def _is_fleet(value: object) -> bool:
    return isinstance(value, dict) and "vms" in value


def _as_fleet(value: object) -> dict[str, Any]:
    """Return the fleet of one VM that is written with its name.

    Raises:
        ConfigError: it is not a mapping with a name.
    """
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ConfigError("top level", describe(value), "a fleet file, or one VM with its name")
    own = ("name", "revision", "origin", "quarantined")
    return {"vms": {value["name"]: {key: item for key, item in value.items() if key not in own}}}


def _document(vms: "Iterable[Vm]", name: str, version: str, newest: str) -> bytes:
    """Return the instance document of a VM of a file; version "" is the newest.

    Raises:
        ConfigError: the file has no such VM, or there is no such api-version.
    """
    from openimds.facts.versions import catalog
    from openimds.protocol.dialect import catalog_of
    from openimds.protocol.handle import instance_document

    by_name = {vm.name: vm for vm in vms}
    if name not in by_name:
        expected = "one of " + ", ".join(by_name)
        raise ConfigError("NAME", f'"{name}"', expected, nearest(name, by_name))
    vm = by_name[name]
    served = catalog_of(vm, catalog(newest))
    version = version or served.general[-1]
    if version not in served.known:
        likely = ", ".join(served.newest_first)
        raise ConfigError("--api-version", f'"{version}"', f"an api-version such as {likely}")
    return instance_document(vm, version)


def _compute(vm: dict[str, Any], key: str) -> str:
    return str(vm.get("compute", {}).get(key, ""))
