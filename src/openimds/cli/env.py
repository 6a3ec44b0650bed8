"""`openimds env`: the variables that point clients at a running server."""

import shlex

import click
import msgspec.json

from openimds.cli.client import Client, vm_path
from openimds.cli.main import options, values
from openimds.dataplane.listeners import Unix, address
from openimds.errors import ConfigError
from openimds.facts.protocols import IMDS, TOKEN_ROUTES
from openimds.protocol import identity_dialects


def variables(url: str) -> dict[str, str]:
    """Return the variables of IMDS by name.

    The identity libraries of .NET, Python, Java, JavaScript and C++ take the host of IMDS from
    AZURE_POD_IDENTITY_AUTHORITY_HOST; those of Go and Rust take it from nowhere.
    """
    return identity_dialects.variables(IMDS, url)


@click.command("env")
@options("listen", "state")
@click.option(
    "--for",
    "way",
    type=click.Choice([*TOKEN_ROUTES]),
    default=IMDS,
    help="Which way to tokens clients shall take.",
)
@click.option("--vm", "name", metavar="NAME", help="Ask the server for the variables of this VM.")
@click.option("--shell", type=click.Choice(["sh", "json"]), default="sh", help="How to print them.")
def command(way: str, name: str | None, shell: str, **flags: object) -> None:
    """Print the variables that point clients at a running server.

    In a shell: eval "$(openimds env)". Ways with a secret are asked of the server; without --vm
    that is the secret of its only VM.
    """
    said = values(flags)
    if name is None and not TOKEN_ROUTES[way].has_secret:
        shown = identity_dialects.variables(way, _url(said["listen"]))
    else:
        shown = _asked(Client(said["state"]), way, name)
    if shell == "json":
        click.echo(msgspec.json.encode(shown).decode())
        return
    for variable, value in shown.items():
        click.echo(f"export {variable}={shlex.quote(value)}")


def _url(listen: str) -> str:
    found = address(listen.partition(",")[0], "listen")
    if isinstance(found, Unix):
        raise ConfigError("listen", f"unix:{found.path}", "HOST:PORT: clients take a URL")
    host = f"[{found.host}]" if ":" in found.host else found.host
    return f"http://{host}:{found.port}"


def _asked(client: Client, way: str, name: str | None) -> dict[str, str]:
    """Return what the server says of a VM, or of the only one.

    Raises:
        ConfigError: it has several VMs, or does not serve this way.
        ServerError: nobody answers, or there is no such VM.
    """
    if name is None:
        names = [str(one["name"]) for _, one in zip(range(2), client.vms(), strict=False)]
        if len(names) != 1:
            seen = "several VMs" if names else "no VM"
            raise ConfigError("--vm", seen, "the name of one", "Write --vm NAME")
        name = names[0]
    found: dict[str, dict[str, str]] = client.ask("GET", vm_path(name, "/endpoints"))["variables"]
    if way in found:
        return found[way]
    if not found:
        raise ConfigError("listen", f'no URL that leads to "{name}"', "HOST:PORT")
    flag = "--" + TOKEN_ROUTES[way].setting.replace("_", "-")
    raise ConfigError("--for", f'"{way}", which that server has not', f"a server with {flag}")
