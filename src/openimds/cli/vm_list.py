"""`openimds vm list`: the VMs of a running server, filtered, sorted, and with chosen columns."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec.json

from openimds.cli.client import Client
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list
from openimds.cli.selection import Selection, complete_name, select_options
from openimds.cli.table import Column, member
from openimds.cli.watch import ChangeSignal, WatchedList, check_form, watch_list, watch_option
from openimds.fleet.quarantine import QuarantinedVm, notices

_PATHS: Mapping[str, str] = {
    "size": "compute.vmSize",
    "location": "compute.location",
    "zone": "compute.zone",
    "resourceGroup": "compute.resourceGroupName",
    "subscription": "compute.subscriptionId",
    "scaleSet": "compute.vmScaleSetName",
    "tags": "compute.tags",
    "vmId": "compute.vmId",
    "host": "host",
}
"""The members of the API by the short names of selectors and columns."""
_HEADS: Mapping[str, str] = {"resourceGroup": "GROUP", "scaleSet": "SCALE SET", "vmId": "VM ID"}
_OWN = ("name", "origin", "revision")
_STATE = "state"
_WHOLE = ("json", "yaml")


def _value(vm: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON value
    value: Any = vm
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: object) -> str:
    """Return a value as a cell: tags as `env:prod, team:web`."""
    match value:
        case None:
            return ""
        case str():
            return value
        case dict() if all(isinstance(one, str) for one in value.values()):
            return ", ".join(f"{name}:{one}" for name, one in value.items())
        case _:
            return msgspec.json.encode(value).decode()


def _state(vm: Mapping[str, Any]) -> str:
    return "quarantined" if "quarantined" in vm else "served"


def column_of(field: str) -> Column:
    """Return the column of a field: a short name, or the path of a member."""
    if field == _STATE:
        return Column("STATE", _state)
    if field in _OWN:
        return member(field.upper(), field)
    path = _PATHS.get(field, field)
    head = _HEADS.get(field, field.upper() if field in _PATHS else field)
    wrap = "words" if field == "tags" else ""
    return Column(head, lambda vm: _text(_value(vm, path)), "", wrap)  # type: ignore[arg-type]


_USUAL = ("size", "location", "zone")
COLUMNS = (
    member("NAME", "name"),
    *map(column_of, _USUAL),
    member("ORIGIN", "origin"),
    member("REVISION", "revision"),
    Column("STATE", _state),
)


def _complete_fields(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    before, comma, last = incomplete.rpartition(",")
    known = [*_OWN, _STATE, *_PATHS]
    return [CompletionItem(f"{before}{comma}{one}") for one in known if one.startswith(last)]


@click.command("list")
@click.argument("more", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@select_options("Only this VM", acts=False)
@click.option(
    "--fields",
    metavar="NAME,...",
    default="",
    help=f"Columns: {', '.join((*_OWN[1:], _STATE, *_PATHS))}, or members as compute.osType.",
    shell_complete=_complete_fields,
)
@click.option("--sort", metavar="NAME", default="", help="The order: size, location, -size, ...")
@watch_option
@options("state")
@output_options()
def command(  # noqa: PLR0913 - one for each option
    more: tuple[str, ...],
    fields: str,
    sort: str,
    *,
    selection: Selection,
    is_watched: bool,
    output: str,
    **flags: object,
) -> None:
    """List the VMs of a running server.

    Names may have wildcards. Values that a VM does not set are those that its guests see; JSON has
    only what is set, unless --fields names it. A quarantined VM is stored but not served; the
    reason is printed on stderr.
    """
    state = values(flags).state
    chosen = [field for part in fields.split(",") if (field := part.strip())]
    query = {**selection.with_names(more).query, **({"sort": sort} if sort else {})}
    paths = [_PATHS.get(field, field) for field in chosen or _USUAL if field != _STATE]
    if chosen or output not in _WHOLE:
        query["fields"] = ",".join(paths or ["name"])
    columns = [COLUMNS[0], *map(column_of, chosen)] if chosen else COLUMNS
    if chosen and "name" in chosen:
        columns = [*map(column_of, chosen)]
    client = Client(state)
    if is_watched:
        check_form(output)
        listed = WatchedList(lambda: client.items("/v1/vms", query), columns, "name", output)
        watch_list(listed, ChangeSignal(Client(state)))
        return
    vms = list(client.items("/v1/vms", query))
    print_list(output, vms, columns)
    if output in {*_WHOLE, "name"}:
        return
    absent = {
        vm["name"]: QuarantinedVm(vm["name"], vm["quarantined"])
        for vm in vms
        if "quarantined" in vm
    }
    for notice in notices(absent):
        click.echo(notice, err=True)
