"""`openimds identity`: managed identities of a running server's VMs, their tokens and keys."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn

import click
import msgspec.json

from openimds.cli.client import ChangedError, Client, vm_path
from openimds.cli.complete import CLIENT_IDS, RESOURCE_IDS
from openimds.cli.groups import CommandGroup
from openimds.cli.keys import rotate
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_list, print_object
from openimds.cli.selection import Selection, complete_name, may_act, names_of, select_options
from openimds.cli.table import Cell, Column
from openimds.errors import Error
from openimds.parameters import nearest
from openimds.vm.identities import SYSTEM

MERGE_PATCH = "application/merge-patch+json"
_MOST_TRIES = 100
"""How often a change is tried: each 412 means that another client's change went through."""

Vm = dict[str, Any]


class NoIdentityError(Error):
    """The VM has no such identity."""


def _which(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options `--system` and `--user`, which name an identity."""
    user = click.option(
        "--user",
        metavar="RESOURCE_ID",
        shell_complete=RESOURCE_IDS,
        help="A user-assigned identity.",
    )
    system = click.option("--system", is_flag=True, help="The system-assigned identity.")
    return system(user(function))


@click.group("identity", cls=CommandGroup)
def command() -> None:
    """List, assign and remove managed identities, and print tokens.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@select_options("Only those of this VM", acts=False)
@options("state")
@output_options()
def list_identities(*, selection: Selection, output: str, **flags: object) -> None:
    """List the identities, with the ids that tokens show."""
    client = Client(values(flags).state)
    if selection.is_given and selection.is_exact:
        identities = [one for name in selection.names for one in _of(client, name)]
    else:
        identities = list(client.items("/v1/identities", selection.query))
    print_list(output, identities, COLUMNS, "clientId")
    if output in {"json", "yaml", "name"}:
        return
    forged = sum(identity["forged"] for identity in identities)
    if forged:
        click.echo(f"{forged} of these give forged tokens: see the column SOURCE", err=True)


@command.command("assign")
@click.argument("vms", metavar="[VM]...", nargs=-1, shell_complete=complete_name)
@_which
@select_options("A VM")
@click.option("--client-id", metavar="GUID", help="Default: derived from the identity.")
@click.option("--principal-id", metavar="GUID", help="The object id; default: derived, too.")
@click.option("--source", metavar="NAME", help="local (default), entra, or forge:KIND.")
@click.option(
    "--role",
    "roles",
    metavar="VALUE",
    multiple=True,
    help="A role in its tokens; repeat it for more. They replace all roles; empty: none.",
)
@click.option(
    "--group",
    "groups",
    metavar="GUID",
    multiple=True,
    help="A group in its tokens; as --role.",
)
@click.option(
    "--claim",
    "claims",
    metavar="NAME=JSON",
    multiple=True,
    help="Another claim in its tokens: JSON, else text. An empty value takes it back.",
)
@options("state")
@output_options("a line on stderr")
def assign(  # noqa: PLR0913 - one for each option
    vms: tuple[str, ...],
    user: str | None,
    *,
    system: bool,
    selection: Selection,
    output: str,
    claims: tuple[str, ...],
    **flags: object,
) -> None:
    """Assign an identity to VMs, or change its details."""
    key = _key(user, system=system)
    named = {"clientId": "client_id", "principalId": "principal_id", "source": "source"}
    given = {member: flags.pop(flag) for member, flag in named.items()}
    details = {member: text for member, text in given.items() if text is not None}
    for detail in ("roles", "groups"):
        texts = flags.pop(detail)
        if isinstance(texts, tuple) and texts:
            details[detail] = [text for text in texts if text] or None
    if claims:
        details["claims"] = dict(map(_claim, claims))
    client = Client(values(flags).state)
    selection = selection.with_names(vms)
    names = _names(client, selection)
    if may_act(selection, f"Assign {_title(key)} to", names, output=output):
        changed = (_change(client, name, lambda vm: _assigned(vm, key, details)) for name in names)
        _print_assigned(client, changed, key, output)


@command.command("remove")
@click.argument("vms", metavar="[VM]...", nargs=-1, shell_complete=complete_name)
@_which
@select_options("A VM")
@options("state")
def remove(
    vms: tuple[str, ...],
    user: str | None,
    *,
    system: bool,
    selection: Selection,
    **flags: object,
) -> None:
    """Remove an identity from VMs, with its details."""
    key, client = _key(user, system=system), Client(values(flags).state)
    selection = selection.with_names(vms)
    names = _names(client, selection)
    if not selection.is_exact:
        # Of chosen VMs, those that have it; a typed one has to have it.
        names = [name for name in names if _has(_of(client, name), key)]
        if not names:
            raise NoIdentityError(f"No VM of {selection.options} has {_title(key)}")
    if not may_act(selection, f"Remove {_title(key)} from", names):
        return
    for name in names:
        changed = _change(client, name, lambda vm: _removed(vm, key))
        click.echo(f"{name} has lost {_title(key)} (revision {changed['revision']})", err=True)


@command.command("token")
@click.argument("name", metavar="VM", shell_complete=complete_name)
@click.option(
    "--resource",
    required=True,
    metavar="URI",
    help="The service that accepts the token, such as https://vault.azure.net.",
)
@click.option(
    "--user",
    metavar="RESOURCE_ID",
    shell_complete=RESOURCE_IDS,
    help="The token of this user-assigned identity.",
)
@click.option(
    "--client-id",
    metavar="GUID",
    shell_complete=CLIENT_IDS,
    help="The token of the identity with this client id.",
)
@options("state")
@output_options("the token alone", has_names=False)
def token(
    name: str,
    resource: str,
    user: str | None,
    client_id: str | None,
    *,
    output: str,
    **flags: object,
) -> None:
    """Print an access token of a VM.

    It is the token that the VM itself gets; by default that of its system-assigned identity, or of
    the only user-assigned one. With --json print Azure's whole answer.
    """
    if user and client_id:
        raise click.UsageError("Name one identity: --user RESOURCE_ID, or --client-id GUID")
    selected = {"resourceId": user} if user else {"clientId": client_id} if client_id else {}
    body = {"resource": resource, **selected}
    answer = Client(values(flags).state).ask("POST", vm_path(name, "/token"), body)
    print_object(output, answer, lambda: click.echo(answer["access_token"]))


command.add_command(rotate)


def _key(user: str | None, *, system: bool) -> str:
    """Return the key of an identity among a VM's `details`.

    Raises:
        UsageError: no identity is named, or two are.
    """
    if system == bool(user):
        raise click.UsageError("Name one identity: --system, or --user RESOURCE_ID")
    return user or SYSTEM


def _claim(text: str) -> tuple[str, object]:
    """Return the name and the value of a claim; None takes it back.

    Raises:
        UsageError: there is no name.
    """
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise click.UsageError(f'--claim: saw "{text}", expected NAME=JSON, such as level=3')
    if not value:
        return name, None
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _change(client: Client, name: str, patch: Callable[[Vm], Vm]) -> Vm:
    """Patch a VM at the revision that was read; try again after each 412.

    Raises:
        ServerError: the change was refused, or the VM changed before every try.
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


def _assigned(vm: Vm, key: str, details: dict[str, object]) -> Vm:
    """Return the merge patch of a VM's identities that assigns one."""
    identities = vm.get("identities", {})
    if key == SYSTEM:
        change: Vm = {"system": True}
    else:
        user = identities.get("user", [])
        is_assigned = any(_is_same(resource_id, key) for resource_id in user)
        change = {"user": user if is_assigned else [*user, key]}
    if not details:
        return change
    # Details that stand under the same id in another letter case are changed there.
    keys = identities.get("details", {})
    present = next((other for other in keys if _is_same(other, key)), key)
    return {**change, "details": {present: details}}


def _removed(vm: Vm, key: str) -> Vm:
    """Return the merge patch of a VM's identities that removes one.

    Raises:
        NoIdentityError: the VM does not have it.
    """
    identities = vm.get("identities", {})
    user = identities.get("user", [])
    rest = [resource_id for resource_id in user if not _is_same(resource_id, key)]
    if key == SYSTEM:
        change: Vm = {"system": None}
        is_assigned = identities.get("system", False)
    else:
        change = {"user": rest}
        is_assigned = len(rest) < len(user)
    if not is_assigned:
        _refuse(vm["name"], key, user)
    removed = {other: None for other in identities.get("details", {}) if _is_same(other, key)}
    return {**change, "details": removed} if removed else change


def _refuse(name: str, key: str, user: list[str]) -> NoReturn:
    hint = nearest(key, user) if key != SYSTEM else ""
    text = f"{name} does not have {_title(key)}"
    raise NoIdentityError(
        f"{text}. {hint}" if hint else f"{text}; openimds identity list shows all"
    )


def _is_same(one: str, other: str) -> bool:
    """Tell whether two resource ids are equal; letter case does not count."""
    return one.lower() == other.lower()


def _title(key: str) -> str:
    return "the system-assigned identity" if key == SYSTEM else f"the identity {key}"


def _of(client: Client, name: str) -> list[dict[str, Any]]:
    identities: list[dict[str, Any]] = client.ask("GET", vm_path(name, "/identities"))["items"]
    return identities


def _names(client: Client, selection: Selection) -> list[str]:
    """Return the names of the chosen VMs.

    Raises:
        UsageError: none is chosen.
    """
    if not selection.is_given:
        raise click.UsageError("Name the VMs: VM, --select SELECTOR, or --all")
    return names_of(client, selection)


def _has(identities: list[dict[str, Any]], key: str) -> bool:
    return any(_is_same(one.get("resourceId", SYSTEM), key) for one in identities)


def _print_assigned(client: Client, vms: Iterable[Vm], key: str, output: str) -> None:
    """Print the ids that the identity has now; the lines as the answers come."""
    identities = []
    for vm in vms:
        own = [one for one in _of(client, vm["name"]) if _has([one], key)]
        ids = f", client id {own[0]['clientId']}" if own else ""
        if not output:
            line = f"{vm['name']} has {_title(key)}{ids} (revision {vm['revision']})"
            click.echo(line, err=True)
        identities += own
    print_list(output, identities, COLUMNS, "clientId", usual=lambda: None)


def _member(head: str, key: str, only: Literal["", "table", "wide"] = "") -> Column:
    """Return the column of a member; an identity with forged tokens is marked."""

    def cell(identity: dict[str, Any]) -> Cell:
        return identity.get(key, ""), "bold red" if identity["forged"] else ""

    return Column(head, cell, only)


def _name(identity: dict[str, Any]) -> Cell:
    """Return the last part of the resource id, which `--output wide` has in full."""
    name = identity.get("resourceId", "").rpartition("/")[2]
    return name, "bold red" if identity["forged"] else ""


COLUMNS = (
    _member("VM", "vm"),
    _member("KIND", "kind"),
    Column("NAME", _name, "table"),
    _member("CLIENT ID", "clientId"),
    _member("PRINCIPAL ID", "principalId", "wide"),
    _member("SOURCE", "source"),
    _member("RESOURCE", "resourceId", "wide"),
)
