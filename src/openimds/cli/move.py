"""`openimds vm move`: take a VM from one host of a fleet to another."""

import time

import click

from openimds.cli.client import Client, vm_path
from openimds.cli.complete import HOSTS
from openimds.cli.duration import Duration
from openimds.cli.main import options, values
from openimds.cli.selection import Selection, complete_name, may_act, names_of, select_options
from openimds.errors import ConfigError, Error
from openimds.parameters import nearest

_MERGE_PATCH = "application/merge-patch+json"
_POLL_S = 0.1
_PATIENCE_S = 60.0
_STEPS = ("begin", "commit", "cancel")


class MoveError(Error):
    """A VM cannot move so, or its next host lacks it for too long."""


@click.command("move")
@click.argument("more", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@select_options("A VM")
@click.option("--to", metavar="HOST", default="", shell_complete=HOSTS, help="The next host.")
@click.option("--begin", is_flag=True, help="Only prepare the next host: both hosts serve the VM.")
@click.option("--commit", is_flag=True, help="Only end a begun move: the next host is the VM's.")
@click.option("--cancel", is_flag=True, help="Only undo a begun move: the first host is the VM's.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default=_PATIENCE_S,
    show_default=True,
    help="The longest wait for the next host.",
)
@options("state")
def command(
    more: tuple[str, ...], to: str, timeout_s: float, *, selection: Selection, **flags: object
) -> None:
    """Move VMs to another host of a fleet of hosts, one after another.

    The next host prepares the VM; once that host shows it, the VM belongs to it alone, and the
    first host forgets it. For a live migration type --begin before it and --commit after it:
    between them the VM may run on either. Each can be typed again after a failure.
    """
    chosen = [step for step in _STEPS if flags.pop(step)]
    if len(chosen) > 1:
        raise ConfigError(f"--{chosen[1]}", f"it beside --{chosen[0]}", "one of them")
    step = chosen[0] if chosen else ""
    if not to and step in {"", "begin"}:
        raise ConfigError("--to", "nothing", "the name of the next host")
    selection, client = selection.with_names(more), Client(values(flags).state)
    if not selection.is_given:
        raise click.UsageError("Name the VMs: NAME, --select SELECTOR, or --all")
    names = names_of(client, selection)
    if not selection.is_exact:
        names = [name for name in names if _is_to_move(client, name, to, step)]
        if not names:
            raise MoveError(f"no VM of {selection.options} is to move")
    if not may_act(selection, "Move", names):
        return
    for name in names:
        _take_step(_Move(client, name, to), step, timeout_s, name)


def _take_step(move: "_Move", step: str, timeout_s: float, name: str) -> None:
    """Move a VM, or take one step of that."""
    if step == "cancel":
        move.cancel()
        return
    if step != "commit":
        move.begin()
    move.wait(timeout_s)
    if step == "begin":
        click.echo(f"{name} may resume on {move.next_host}")
    else:
        move.commit()


def _is_to_move(client: Client, name: str, to: str, step: str) -> bool:
    """Tell whether a chosen VM takes part: it is elsewhere, or it moves already."""
    vm = client.ask("GET", vm_path(name))
    if step in {"commit", "cancel"}:
        return bool(vm.get("nextHost"))
    return bool(vm.get("host")) and vm["host"] != to


class _Move:
    """A move of a VM: each step begins with the VM as it is now."""

    def __init__(self, client: Client, name: str, to: str) -> None:
        """Read the VM.

        Raises:
            MoveError: it is on no host, or is already there.
            ServerError: there is no such VM, or no server answers.
        """
        self._client, self._name = client, name
        vm = client.ask("GET", vm_path(name))
        self._revision: int = vm["revision"]
        self._host: str = vm.get("host", "")
        self._begun: str = vm.get("nextHost", "")
        self.next_host: str = to or self._begun
        if not self._host:
            raise MoveError(
                f'{name} is on no host; give it one by openimds vm patch: {{"host": "HOST"}}'
            )
        if to and to == self._host:
            raise MoveError(f"{name} is on {to} already")
        if self._begun and to and to != self._begun:
            raise MoveError(
                f"{name} is moving from {self._host} to {self._begun}; end that by "
                f"openimds vm move {name} --commit or --cancel"
            )

    def begin(self) -> None:
        """Make the next host prepare the VM; a begun move goes on.

        Raises:
            ConfigError: there is no such host, or it cannot be reached by control.
            ServerError: the VM has changed, or its addresses are another VM's there.
        """
        if self._begun:
            return
        hosts = {host["name"]: host for host in self._client.items("/v1/hosts")}
        host = hosts.get(self.next_host)
        joined = [name for name, other in hosts.items() if other["state"] == "joined"]
        if host is None or host["state"] != "joined":
            seen = f'"{self.next_host}"' + (f", which is {host['state']}" if host else "")
            expected = f"one of {', '.join(joined)}" if joined else "a host that has joined"
            hint = nearest(self.next_host, joined) if host is None else ""
            hint = hint or f"Type openimds control host add {self.next_host} for a new host"
            raise ConfigError("--to", seen, expected, hint)
        self._patch({"nextHost": self.next_host})

    def wait(self, timeout_s: float) -> None:
        """Wait until the next host shows the VM.

        Raises:
            MoveError: no move was begun, or the host does not show the VM in time.
        """
        self._check_begun()
        until_s, reported = time.monotonic() + timeout_s, False
        while (
            self.next_host in self._client.ask("GET", vm_path(self._name, "/placement"))["lacking"]
        ):
            if time.monotonic() >= until_s:
                raise MoveError(
                    f"{self.next_host} does not show {self._name} after {timeout_s:g} s: "
                    f"{self._reason()}. The move stays begun: type it again, or --cancel"
                )
            if not reported:
                click.echo(f"waiting for {self.next_host} to show {self._name}", err=True)
                reported = True
            time.sleep(_POLL_S)

    def commit(self) -> None:
        """Give the VM to the next host alone.

        Raises:
            ServerError: the VM has changed.
        """
        self._patch({"host": self.next_host, "nextHost": None})
        click.echo(f"{self._name} moved from {self._host} to {self.next_host}", err=True)

    def cancel(self) -> None:
        """Leave the VM to the first host alone.

        Raises:
            MoveError: no move was begun.
            ServerError: the VM has changed.
        """
        self._check_begun()
        self._patch({"nextHost": None})
        click.echo(f"{self._name} stays on {self._host}", err=True)

    def _check_begun(self) -> None:
        if not self._begun:
            raise MoveError(
                f"{self._name} is on {self._host} and not moving; begin by "
                f"openimds vm move {self._name} --to HOST"
            )

    def _patch(self, changes: dict[str, str | None]) -> None:
        path = vm_path(self._name)
        vm = self._client.ask("PATCH", path, changes, _MERGE_PATCH, self._revision)
        self._revision, self._begun = vm["revision"], vm.get("nextHost", "")

    def _reason(self) -> str:
        """Return the reason why the next host lacks the VM."""
        host = next(
            (one for one in self._client.items("/v1/hosts") if one["name"] == self.next_host), None
        )
        if host is None or not host["isConnected"]:
            return "it is not connected to control"
        return str(host["refused"].get(self._name, "it has not caught up yet"))
