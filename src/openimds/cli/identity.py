"""`openimds identity`: the managed identities of a running server's VMs, and the keys of tokens."""

from collections.abc import Callable
from typing import Any, NoReturn

import click
import msgspec.json

from openimds.cli.client import ChangedError, Client, vm_path
from openimds.cli.main import options, values
from openimds.cli.table import Cell, json_instead_of, print_table
from openimds.errors import Error
from openimds.parameters import nearest
from openimds.vm.identities import SYSTEM

MERGE_PATCH = "application/merge-patch+json"
_MOST_TRIES = 100
"""How often a change is tried that others are quicker with: each time one of them is through."""
_HEAD = ("VM", "KIND", "CLIENT ID", "PRINCIPAL ID", "SOURCE", "RESOURCE")

Vm = dict[str, Any]
as_json = json_instead_of("a table")


class NoIdentityError(Error):
    """The VM has no such identity."""


def _which(function: Callable[..., None]) -> Callable[..., None]:
    """Add the two ways to name an identity."""
    user = click.option("--user", metavar="RESOURCE_ID", help="A user-assigned identity.")
    system = click.option("--system", is_flag=True, help="The system-assigned identity.")
    return system(user(function))


@click.group("identity")
def command() -> None:
    """Look at managed identities, assign and remove them.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@click.option("--vm", "name", metavar="NAME", help="Only those of this VM.")
@options("state")
@as_json
def list_identities(name: str | None, *, is_json: bool, **flags: object) -> None:
    """List the identities, with the ids that tokens show."""
    client = Client(values(flags)["state"])
    found = _of(client, name) if name else list(client.items("/v1/identities"))
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    print_table(_HEAD, map(_row, found))
    forged = sum(one["forged"] for one in found)
    if forged:
        click.echo(f"{forged} of these give forged tokens: their source says which", err=True)


@command.command("assign")
@click.argument("name", metavar="VM")
@_which
@click.option("--client-id", metavar="GUID", help="Default: worked out from the identity.")
@click.option("--principal-id", metavar="GUID", help="The object id; default as above.")
@click.option("--source", metavar="NAME", help="local (default), entra, or forge:KIND.")
@options("state")
@as_json
def assign(name: str, user: str | None, *, system: bool, is_json: bool, **flags: object) -> None:
    """Give a VM an identity, or change what is said of one that it has."""
    key = _key(user, system=system)
    named = {"clientId": "client_id", "principalId": "principal_id", "source": "source"}
    said = {member: flags.pop(flag) for member, flag in named.items()}
    detail = {member: text for member, text in said.items() if text is not None}
    client = Client(values(flags)["state"])
    changed = _change(client, name, lambda vm: _assigned(vm, key, detail))
    _done(client, changed, key, is_json=is_json)


@command.command("remove")
@click.argument("name", metavar="VM")
@_which
@options("state")
def remove(name: str, user: str | None, *, system: bool, **flags: object) -> None:
    """Take an identity from a VM, with all that was said of it."""
    key = _key(user, system=system)
    changed = _change(Client(values(flags)["state"]), name, lambda vm: _removed(vm, key))
    click.echo(f"{name} has lost {_called(key)} (revision {changed['revision']})", err=True)


@command.command("rotate")
@options("state")
@as_json
def rotate(*, is_json: bool, **flags: object) -> None:
    """Sign tokens with a new key from now on; the old one stays published for a while."""
    keys = Client(values(flags)["state"]).ask("POST", "/v1/keys")["items"]
    if is_json:
        click.echo(msgspec.json.encode(keys).decode())
        return
    for key in keys:
        said = f"published until {key['publishedUntil']}" if key["retired"] else "signs from now on"
        click.echo(f"{key['kid']} {said}", err=True)


def _key(user: str | None, *, system: bool) -> str:
    """Return the key of an identity among the details.

    Raises:
        UsageError: none was named, or two.
    """
    if system == bool(user):
        raise click.UsageError("Name one identity: --system, or --user RESOURCE_ID")
    return user or SYSTEM


def _change(client: Client, name: str, patch: Callable[[Vm], Vm]) -> Vm:
    """Change a VM by what it says now, again where somebody else was quicker.

    Raises:
        ServerError: the change was refused, or others were quicker every time.
    """
    for _ in range(_MOST_TRIES - 1):
        try:
            return _try(client, name, patch)
        except ChangedError:
            continue
    return _try(client, name, patch)


def _try(client: Client, name: str, patch: Callable[[Vm], Vm]) -> Vm:
    vm: Vm = client.ask("GET", vm_path(name))
    body = {"identities": patch(vm)}
    changed: Vm = client.ask("PATCH", vm_path(name), body, MERGE_PATCH, vm["revision"])
    return changed


def _assigned(vm: Vm, key: str, detail: dict[str, object]) -> Vm:
    """Return the merge patch of a VM's identities that assigns one."""
    held = vm.get("identities", {})
    if key == SYSTEM:
        change: Vm = {"system": True}
    else:
        user = held.get("user", [])
        is_there = any(_is_same(one, key) for one in user)
        change = {"user": user if is_there else [*user, key]}
    if not detail:
        return change
    # Said in other letters before, it is said there again.
    before = next((one for one in held.get("details", {}) if _is_same(one, key)), key)
    return {**change, "details": {before: detail}}


def _removed(vm: Vm, key: str) -> Vm:
    """Return the merge patch of a VM's identities that removes one.

    Raises:
        NoIdentityError: the VM does not have it.
    """
    held = vm.get("identities", {})
    user = held.get("user", [])
    rest = [one for one in user if not _is_same(one, key)]
    if key == SYSTEM:
        change: Vm = {"system": None}
        is_there = held.get("system", False)
    else:
        change = {"user": rest}
        is_there = len(rest) < len(user)
    if not is_there:
        _refuse(vm["name"], key, user)
    gone = {one: None for one in held.get("details", {}) if _is_same(one, key)}
    return {**change, "details": gone} if gone else change


def _refuse(name: str, key: str, user: list[str]) -> NoReturn:
    hint = nearest(key, user) if key != SYSTEM else ""
    text = f"{name} does not have {_called(key)}; openimds identity list shows what there is"
    raise NoIdentityError(f"{text}. {hint}" if hint else text)


def _is_same(one: str, other: str) -> bool:
    """Tell whether two resource ids are one: they have no letter case."""
    return one.lower() == other.lower()


def _called(key: str) -> str:
    return "the system-assigned identity" if key == SYSTEM else f"the identity {key}"


def _of(client: Client, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.ask("GET", vm_path(name, "/identities"))["items"]
    return found


def _done(client: Client, vm: Vm, key: str, *, is_json: bool) -> None:
    """Say which ids the identity has now."""
    mine = [one for one in _of(client, vm["name"]) if _is_same(one.get("resourceId", SYSTEM), key)]
    if is_json:
        click.echo(msgspec.json.encode(mine).decode())
        return
    ids = f", client id {mine[0]['clientId']}" if mine else ""
    click.echo(f"{vm['name']} has {_called(key)}{ids} (revision {vm['revision']})", err=True)


def _row(one: dict[str, Any]) -> tuple[Cell, ...]:
    names = ("vm", "kind", "clientId", "principalId", "source", "resourceId")
    style = "bold red" if one["forged"] else ""
    return tuple((one.get(name, ""), style) for name in names)
