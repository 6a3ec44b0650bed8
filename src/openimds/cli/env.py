"""`openimds env`: the variables that point clients at a running server."""

import shlex

import click
import msgspec.json

from openimds.cli.main import options, values
from openimds.errors import ConfigError
from openimds.wire.listen import Unix, address


def variables(url: str) -> dict[str, str]:
    """Return the variables by name.

    The identity libraries of .NET, Python, Java, JavaScript and C++ take the host of IMDS from
    AZURE_POD_IDENTITY_AUTHORITY_HOST; those of Go and Rust take it from nowhere.
    """
    return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": url, "OPENIMDS_URL": url}


@click.command("env")
@options("listen")
@click.option("--shell", type=click.Choice(["sh", "json"]), default="sh", help="How to print them.")
def command(shell: str, **flags: object) -> None:
    """Print the variables that point clients at a running server.

    In a shell: eval "$(openimds env)".
    """
    found = address(values(flags)["listen"], "listen")
    if isinstance(found, Unix):
        raise ConfigError("listen", f"unix:{found.path}", "HOST:PORT: clients take a URL")
    host = f"[{found.host}]" if ":" in found.host else found.host
    shown = variables(f"http://{host}:{found.port}")
    if shell == "json":
        click.echo(msgspec.json.encode(shown).decode())
        return
    for name, value in shown.items():
        click.echo(f"export {name}={shlex.quote(value)}")
