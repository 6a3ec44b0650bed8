"""`openimds vm`: look at the VMs of a fleet file, without a server."""

import click
import msgspec.json

from openimds.app import read_catalog, read_vms
from openimds.cli.main import options, values
from openimds.core.answer import Answer, Subject, answer
from openimds.core.request import query
from openimds.errors import ConfigError
from openimds.model.defaults import complete
from openimds.model.read import nearest


@click.group("vm")
def command() -> None:
    """Look at VMs."""


@command.command("show")
@click.argument("name")
@options("fleet", "document", "newest_version")
@click.option("--api-version", default="", metavar="VERSION", help="Default: the newest.")
@click.option("--json", "is_compact", is_flag=True, help="The bytes that a guest gets.")
def show(name: str, api_version: str, *, is_compact: bool, **flags: object) -> None:
    """Print the instance document of a VM as a guest would get it."""
    said = values(flags)
    vms, _ = read_vms(said["fleet"], said["document"])
    known = {vm.name: vm for vm in vms}
    if name not in known:
        raise ConfigError("NAME", f'"{name}"', "one of " + ", ".join(known), nearest(name, known))
    catalog = read_catalog(said["newest_version"])
    version = api_version or catalog.general[-1]
    target = f"/metadata/instance?api-version={version}".encode()
    asked = query("GET", target, has_metadata_header=True)
    got = answer(asked, Subject(complete(known[name]), known[name].classic, catalog))
    if not isinstance(got, Answer):
        newest = ", ".join(catalog.newest_first)
        raise ConfigError("--api-version", f'"{version}"', f"an api-version such as {newest}")
    body = got.body if is_compact else msgspec.json.format(got.body, indent=2)
    click.echo(body.decode())
