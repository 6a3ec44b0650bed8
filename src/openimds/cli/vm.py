"""`openimds vm`: the VMs of a running server, or with `show` those of a file."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import msgspec
import msgspec.json

from openimds.cli.client import Client, vm_path
from openimds.cli.describe import command as describe_vm
from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.move import command as move
from openimds.cli.output import output_options, print_list, print_object
from openimds.cli.selection import (
    Selection,
    ask_by_names,
    complete_name,
    may_act,
    names_of,
    select_options,
)
from openimds.cli.vm_list import COLUMNS
from openimds.cli.vm_list import command as list_vms
from openimds.errors import ConfigError
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
_NULL = msgspec.Raw(b"null")
"""The merge patch that removes; the client sends no body for None."""
_MANY = 50
"""From this many VMs on, a terminal is shown a progress bar."""

_ON_STDERR = "a line for each on stderr"


@click.group("vm", cls=CommandGroup)
def command() -> None:
    """List, describe, show, import, change, move and remove VMs.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


command.add_command(list_vms)
command.add_command(describe_vm)
command.add_command(move)


@command.command("show")
@click.argument("name", shell_complete=complete_name)
@options("fleet", "document", "newest_version", "state")
@click.option("--api-version", default="", metavar="VERSION", help="Default: the newest.")
@output_options("indented JSON; json: the bytes that a guest gets", has_names=False)
def show(name: str, api_version: str, *, output: str, **flags: object) -> None:
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
        client = _client(flags)
        body = msgspec.json.encode(client.ask("GET", vm_path(name, f"/document{version}")))
        if client.redacted:
            click.echo(
                f"not shown, as the token's role is below admin: {client.redacted}", err=True
            )
    if output == "json":
        click.echo(body.decode())
        return
    text = msgspec.json.format(body, indent=2).decode()
    print_object(output, msgspec.json.decode(body), lambda: click.echo(text))


@command.command("put")
@click.argument("file")
@options("state")
@output_options(_ON_STDERR)
def put(file: str, *, output: str, **flags: object) -> None:
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
    _put_all(_client(flags), bodies, output)


@command.command("patch")
@click.argument("words", metavar="[NAME]... FILE", nargs=-1, shell_complete=complete_name)
@select_options("A VM")
@options("state")
@output_options(_ON_STDERR)
def patch(words: tuple[str, ...], *, selection: Selection, output: str, **flags: object) -> None:
    """Apply the JSON merge patch in FILE (- is stdin) to VMs.

    In a merge patch (RFC 7396), null removes a member. Of many VMs, up to 1,000 change together.
    """
    if not words:
        raise click.UsageError("Name the FILE with the merge patch")
    client, change = _client(flags), _read(words[-1])
    selection = selection.with_names(words[:-1])
    names = _names(client, selection)
    if not may_act(selection, "Change", names, output=output):
        return
    if selection.is_exact and len(names) == 1:
        changed: Iterable[dict[str, Any]] = [
            client.ask("PATCH", vm_path(names[0]), change, MERGE_PATCH)
        ]
    else:
        if not isinstance(change, dict):
            raise ConfigError(words[-1], describe(change), "a merge patch, which is an object")
        if selection.is_exact:  # A merge patch of the fleet would make a VM that is mistyped.
            for name in names:
                client.ask("GET", vm_path(name))
        changed = _patch_all(client, names, change)
    _print_changed(changed, "changed", output)


@command.command("remove")
@click.argument("more", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@select_options("A VM")
@options("state")
def remove(more: tuple[str, ...], *, selection: Selection, **flags: object) -> None:
    """Remove VMs."""
    client, selection = _client(flags), selection.with_names(more)
    names = _names(client, selection)
    if not may_act(selection, "Remove", names):
        return
    if not selection.is_exact:
        for vm in _patch_all(client, names, None):
            click.echo(f"{vm['name']} removed", err=True)
        return
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
@output_options(_ON_STDERR)
def import_vms(
    files: tuple[str, ...],
    *,
    dry_run: bool,
    partial: bool,
    output: str,
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
    _put_all(_client(flags), [(vm.name, vm.definition) for vm in imported], output)


def _names(client: Client, selection: Selection) -> list[str]:
    """Return the names of the chosen VMs.

    Raises:
        UsageError: none is chosen.
    """
    if not selection.is_given:
        raise click.UsageError("Name the VMs: NAME, --select SELECTOR, or --all")
    return names_of(client, selection)


def _patch_all(client: Client, names: list[str], change: object) -> Iterator[dict[str, Any]]:
    """Patch these VMs, or remove them by None; yield those still there."""
    # A selection, as a merge patch of the fleet makes VMs anew that were removed meanwhile.
    body = _NULL if change is None else change
    items = ask_by_names(client, ("PATCH", "/v1/vms"), names, body, MERGE_PATCH)
    return (vm for vm in items if vm["existed"])


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


def _put_all(client: Client, bodies: list[tuple[str, dict[str, Any]]], output: str) -> None:
    with _progress(bodies, output) as pending:
        vms = (client.ask("PUT", vm_path(name), body) for name, body in pending)
        _print_changed(vms, "put", output)


@contextmanager
def _progress(work: list[Any], output: str) -> Iterator[Iterable[Any]]:
    """Yield the work; if much of it has no lines, show a progress bar."""
    if not output or len(work) < _MANY or not sys.stderr.isatty():
        yield work
        return
    with click.progressbar(work, label="VMs", file=sys.stderr) as pending:
        yield pending


def _print_changed(vms: Iterable[dict[str, Any]], change: str, output: str) -> None:
    """Print the changed VMs; each line at once, so that an error loses none."""
    changed = []
    for vm in vms:
        changed.append(vm)
        if not output:
            click.echo(f"{vm['name']} {change} (revision {vm['revision']})", err=True)
    print_list(output, changed, COLUMNS, usual=lambda: None)


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
