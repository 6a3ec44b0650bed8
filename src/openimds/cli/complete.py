"""Names and ids of a running server, for the completion of a shell.

A shell waits for them at each press of the key: they come within two seconds or not at all, and no
failure is printed.
"""

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, TypeAlias

import click
from click.shell_completion import CompletionItem

from openimds.cli.client import Client
from openimds.cli.main import values
from openimds.errors import Error

PATIENCE_S = 2.0
Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Read: TypeAlias = Callable[[Client, str], Iterable[CompletionItem]]


def offered(context: click.Context, incomplete: str, read: Read) -> list[CompletionItem]:
    """Return the items that `read` gets from the server in time, or none."""
    found: list[CompletionItem] = []

    def work() -> None:
        try:
            client = Client(values({"state": context.params.get("state")}).state)
            client.is_quiet = True
            found.extend(read(client, incomplete))
        except (Error, LookupError, TypeError):  # No server, no right, or another release.
            return

    worker = Thread(target=work, daemon=True)
    worker.start()
    worker.join(PATIENCE_S)
    return [] if worker.is_alive() else found


def member_of(path: str, key: str, about: str = "") -> Completer:
    """Return the completion by a member of the items of a list.

    Args:
        path: the list in the admin API.
        key: the member; its letter case does not matter.
        about: the member that explains an item.
    """

    def complete(
        context: click.Context, _: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return offered(context, incomplete, _members(path, key, about))

    return complete


def _members(path: str, key: str, about: str) -> Read:
    def read(client: Client, incomplete: str) -> Iterable[CompletionItem]:
        items: list[dict[str, Any]] = client.ask("GET", path)["items"]
        texts = {item[key]: str(item.get(about, "")) for item in items if item.get(key)}
        return [
            CompletionItem(text, help=more or None)
            for text, more in texts.items()
            if text.lower().startswith(incomplete.lower())
        ]

    return read


EVENTS = member_of("/v1/events", "id", "type")
FAULTS = member_of("/v1/faults", "id", "effect")
CLIENT_IDS = member_of("/v1/identities", "clientId", "vm")
RESOURCE_IDS = member_of("/v1/identities", "resourceId", "vm")
HOSTS = member_of("/v1/hosts", "name", "state")
SCENARIOS = member_of("/v1/scenarios", "name")
TOKENS = member_of("/v1/tokens", "name", "role")
