"""`openimds identity`: managed identities of a running server's VMs, their tokens and keys."""

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
"""How often a change is tried: each 412 means that another client's change went through."""
_HEAD = ("VM", "KIND", "CLIENT ID", "PRINCIPAL ID", "SOURCE", "RESOURCE")

Vm = dict[str, Any]
as_json = json_instead_of("a table")
as_whole_json = json_instead_of("the token alone")


class NoIdentityError(Error):
    """The VM has no such identity."""


def _which(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options `--system` and `--user`, which name an identity."""
    user = click.option("--user", metavar="RESOURCE_ID", help="A user-assigned identity.")
    system = click.option("--system", is_flag=True, help="The system-assigned identity.")
    return system(user(function))


@click.group("identity")
def command() -> None:
    """List, assign and remove managed identities, and print tokens.

    The server is found by $OPENIMDS_ADMIN (its URL) and $OPENIMDS_TOKEN_FILE, else by the default
    port and state folder.
    """


@command.command("list")
@click.option("--vm", "name", metavar="NAME", help="Only those of this VM.")
@options("state")
@as_json
def list_identities(name: str | None, *, is_json: bool, **flags: object) -> None:
    """List the identities, with the ids that tokens show."""
    client = Client(values(flags).state)
    identities = _of(client, name) if name else list(client.items("/v1/identities"))
    if is_json:
        click.echo(msgspec.json.encode(identities).decode())
        return
    print_table(_HEAD, map(_row, identities))
    forged = sum(identity["forged"] for identity in identities)
    if forged:
        click.echo(f"{forged} of these give forged tokens: see the column SOURCE", err=True)


@command.command("assign")
@click.argument("name", metavar="VM")
@_which
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
@as_json
def assign(
    name: str,
    user: str | None,
    *,
    system: bool,
    is_json: bool,
    claims: tuple[str, ...],
    **flags: object,
) -> None:
    """Assign an identity to a VM, or change its details."""
    key = _key(user, system=system)
    named = {"clientId": "client_id", "principalId": "principal_id", "source": "source"}
    given = {member: flags.pop(flag) for member, flag in named.items()}
    details = {member: text for member, text in given.items() if text is not None}
    for member in ("roles", "groups"):
        texts = flags.pop(member)
        if isinstance(texts, tuple) and texts:
            details[member] = [text for text in texts if text] or None
    if claims:
        details["claims"] = dict(map(_claim, claims))
    client = Client(values(flags).state)
    changed = _change(client, name, lambda vm: _assigned(vm, key, details))
    _print_assigned(client, changed, key, is_json=is_json)


@command.command("remove")
@click.argument("name", metavar="VM")
@_which
@options("state")
def remove(name: str, user: str | None, *, system: bool, **flags: object) -> None:
    """Remove an identity from a VM, with its details."""
    key = _key(user, system=system)
    changed = _change(Client(values(flags).state), name, lambda vm: _removed(vm, key))
    click.echo(f"{name} has lost {_title(key)} (revision {changed['revision']})", err=True)


@command.command("token")
@click.argument("name", metavar="VM")
@click.option(
    "--resource",
    required=True,
    metavar="URI",
    help="The service that accepts the token, such as https://vault.azure.net.",
)
@click.option("--user", metavar="RESOURCE_ID", help="The token of this user-assigned identity.")
@click.option("--client-id", metavar="GUID", help="The token of the identity with this client id.")
@options("state")
@as_whole_json
def token(
    name: str,
    resource: str,
    user: str | None,
    client_id: str | None,
    *,
    is_json: bool,
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
    click.echo(msgspec.json.encode(answer).decode() if is_json else answer["access_token"])


@command.command("rotate")
@options("state")
@as_json
def rotate(*, is_json: bool, **flags: object) -> None:
    """Sign tokens with a new key from now on.

    The old key stays published until the tokens that it signed have expired.
    """
    keys = Client(values(flags).state).ask("POST", "/v1/keys")["items"]
    if is_json:
        click.echo(msgspec.json.encode(keys).decode())
        return
    for key in keys:
        role = f"published until {key['publishedUntil']}" if key["retired"] else "signs from now on"
        click.echo(f"{key['kid']} {role}", err=True)


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


def _print_assigned(client: Client, vm: Vm, key: str, *, is_json: bool) -> None:
    """Print the ids that the identity has now."""
    identities = [
        identity
        for identity in _of(client, vm["name"])
        if _is_same(identity.get("resourceId", SYSTEM), key)
    ]
    if is_json:
        click.echo(msgspec.json.encode(identities).decode())
        return
    ids = f", client id {identities[0]['clientId']}" if identities else ""
    click.echo(f"{vm['name']} has {_title(key)}{ids} (revision {vm['revision']})", err=True)


def _row(identity: dict[str, Any]) -> tuple[Cell, ...]:
    names = ("vm", "kind", "clientId", "principalId", "source", "resourceId")
    style = "bold red" if identity["forged"] else ""
    return tuple((identity.get(name, ""), style) for name in names)
