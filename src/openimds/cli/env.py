"""`openimds env`: the variables that point clients at a running server."""

import shlex

import click
import msgspec.json

from openimds.cli.client import Client, vm_path
from openimds.cli.main import options, values
from openimds.errors import ConfigError
from openimds.facts.protocols import IMDS, TOKEN_ROUTES


def variables(url: str) -> dict[str, str]:
    """Return the variables of IMDS by name.

    The identity libraries of .NET, Python, Java, JavaScript and C++ take the host of IMDS from
    AZURE_POD_IDENTITY_AUTHORITY_HOST; those of Go and Rust take it from nowhere.
    """
    from openimds.protocol import identity_dialects

    return identity_dialects.variables(IMDS, url)


@click.command("env")
@options("listen", "state")
@click.option(
    "--for",
    "way",
    type=click.Choice([*TOKEN_ROUTES]),
    default=IMDS,
    help="The protocol by which clients get tokens.",
)
@click.option("--vm", "name", metavar="NAME", help="Ask the server for the variables of this VM.")
@click.option("--shell", type=click.Choice(["sh", "json"]), default="sh", help="How to print them.")
def command(way: str, name: str | None, shell: str, **flags: object) -> None:
    """Print the variables that point clients at a running server.

    In a shell: eval "$(openimds env)". A protocol with a secret takes it from the server; without
    --vm that is the secret of its only VM.
    """
    from openimds.protocol import identity_dialects

    settings = values(flags)
    if name is None and not TOKEN_ROUTES[way].has_secret:
        found = identity_dialects.variables(way, _url(settings.listen))
    else:
        found = _from_server(Client(settings.state), way, name)
    if shell == "json":
        click.echo(msgspec.json.encode(found).decode())
        return
    for variable, value in found.items():
        click.echo(f"export {variable}={shlex.quote(value)}")


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


def _from_server(client: Client, way: str, name: str | None) -> dict[str, str]:
    """Return the variables of a VM, by default of the only one, from the server.

    Raises:
        ConfigError: the server has several VMs, or does not serve this protocol.
        ServerError: the server does not answer, or has no such VM.
    """
    if name is None:
        names = [str(vm["name"]) for _, vm in zip(range(2), client.vms(), strict=False)]
        if len(names) != 1:
            seen = "several VMs" if names else "no VM"
            raise ConfigError("--vm", seen, "the name of one", "Write --vm NAME")
        name = names[0]
    ways: dict[str, dict[str, str]] = client.ask("GET", vm_path(name, "/endpoints"))["variables"]
    if way in ways:
        return ways[way]
    if not ways:
        raise ConfigError("listen", f'no URL that leads to "{name}"', "HOST:PORT")
    flag = "--" + TOKEN_ROUTES[way].setting.replace("_", "-")
    seen = f'"{way}", which that server does not serve'
    raise ConfigError("--for", seen, f"a server with {flag}")
