"""`openimds env`: the variables that point clients at a running server."""

import os
import shlex

import click
import msgspec.json
from click.shell_completion import CompletionItem

from openimds.cli.client import URL_VARIABLE, Client, vm_path
from openimds.cli.main import options, values
from openimds.cli.selection import complete_name
from openimds.errors import ConfigError
from openimds.facts.protocols import CHAIN_PIN, EVERY_VARIABLE, IMDS, TOKEN_ROUTES
from openimds.parameters import nearest, read_base_url


def _check_way(_: click.Context, __: click.Parameter, way: str) -> str:
    """Return the way.

    Raises:
        ConfigError: it is unknown.
    """
    if way not in TOKEN_ROUTES:
        expected = "one of " + ", ".join(TOKEN_ROUTES)
        raise ConfigError("--for", f'"{way}"', expected, nearest(way, TOKEN_ROUTES))
    return way


def _complete_way(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(way) for way in TOKEN_ROUTES if way.startswith(incomplete)]


@click.command("env")
@options("listen", "state")
@click.option(
    "--for",
    "way",
    metavar=f"[{'|'.join(TOKEN_ROUTES)}]",
    default=IMDS,
    callback=_check_way,
    shell_complete=_complete_way,
    help="The protocol by which clients get tokens.",
)
@click.option(
    "--vm",
    "name",
    metavar="NAME",
    shell_complete=complete_name,
    help="Ask the server for the variables of this VM.",
)
@click.option(
    "--url",
    metavar="URL",
    help="The address by which clients reach the server, such as a published port or the name of "
    "a container; by default that of --listen.",
)
@click.option(
    "--no-chain-pin",
    "is_unpinned",
    is_flag=True,
    help=f"Leave out {CHAIN_PIN}, which some SDKs of 2025 refuse.",
)
@click.option("--unset", is_flag=True, help="Take back the variables of every protocol.")
@click.option("--shell", type=click.Choice(["sh", "json"]), default="sh", help="How to print them.")
def command(  # noqa: PLR0913 - one argument for each option
    way: str,
    name: str | None,
    url: str | None,
    shell: str,
    *,
    is_unpinned: bool,
    unset: bool,
    **flags: object,
) -> None:
    """Print the variables that point clients at a running server.

    In a shell: eval "$(openimds env)", and to take them back eval "$(openimds env --unset)". A
    protocol with a secret takes it from the server; without --vm that is the secret of its only VM.
    Arc's, which a server need not have, is asked for where OPENIMDS_ADMIN or OPENIMDS_STATE is set.
    docs/use/clients.md has the needs of each client.
    """
    settings = values(flags)
    if unset:
        _print(dict.fromkeys(EVERY_VARIABLE), shell)
        return
    base = read_base_url(url, "--url") if url is not None else ""
    route = TOKEN_ROUTES[way]
    is_named = bool(settings.state or os.environ.get(URL_VARIABLE)) and not base
    if name is None and not route.has_secret and not (route.setting and is_named):
        from openimds.protocol import identity_dialects

        found = identity_dialects.variables(way, base or _url(settings.listen))
    else:
        found = _from_server(Client(settings.state), way, name, base)
    if is_unpinned:
        found.pop(CHAIN_PIN, None)
    _print(found, shell)


def _print(variables: dict[str, str] | dict[str, None], shell: str) -> None:
    """Print variables, or the command that unsets those without a value."""
    if shell == "json":
        click.echo(msgspec.json.encode(variables).decode())
        return
    for name, value in variables.items():
        click.echo(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")


def _url(listen: str) -> str:
    """Return the URL of the first listener.

    Raises:
        ConfigError: it is a unix socket.
    """
    from openimds.dataplane.listeners import Unix, address

    listener = address(listen.partition(",")[0], "listen")
    if isinstance(listener, Unix):
        raise ConfigError("listen", f"unix:{listener.path}", "HOST:PORT: clients take a URL")
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    return f"http://{host}:{listener.port}"


def _from_server(client: Client, way: str, name: str | None, url: str) -> dict[str, str]:
    """Return the variables of a VM, by default of the only one, from the server.

    Raises:
        ConfigError: the server has several VMs, or does not serve this protocol.
        ServerError: the server does not answer, or has no such VM.
    """
    from urllib.parse import urlencode

    if name is None:
        served = (vm for vm in client.vms() if "quarantined" not in vm)
        names = [str(vm["name"]) for _, vm in zip(range(2), served, strict=False)]
        if len(names) != 1:
            seen = "several VMs" if names else "no VM"
            raise ConfigError("--vm", seen, "the name of one", "Write --vm NAME")
        name = names[0]
    path = vm_path(name, "/endpoints")
    query = f"?{urlencode({'url': url})}" if url else ""
    ways: dict[str, dict[str, str]] = client.ask("GET", path + query)["variables"]
    if not ways:
        raise ConfigError(
            "listen", f'no URL that leads to "{name}"', "HOST:PORT", "Write --url URL"
        )
    if way not in ways:
        flag = "--" + TOKEN_ROUTES[way].setting.replace("_", "-")
        seen = f'"{way}", which that server does not serve'
        raise ConfigError("--for", seen, f"a server with {flag}")
    if not client.ask("GET", vm_path(name, "/identities"))["items"]:
        assign = f"openimds identity assign {shlex.quote(name)} --system"
        click.echo(f"{name} has no managed identity and gets no token; type: {assign}", err=True)
    return ways[way]
