"""`openimds vm describe`: all that a server knows of one VM, in sections."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click
import msgspec.json

from openimds.cli.client import Client, MissingError, ServerError, vm_path
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_object
from openimds.cli.selection import complete_name
from openimds.cli.table import printable
from openimds.cli.watch import ChangeSignal, watch_option, watch_text

_LAST = 10
"""The requests that are shown."""
_PERIOD_S = 2.0
"""The time between two looks of `--watch`: requests are in no feed of changes."""
_LABEL = 16
_DAY = len("2026-11-22T")

Json = dict[str, Any]


class _Part(NamedTuple):
    """A part of a description: its member in JSON, and its reader."""

    key: str
    read: Callable[[Client, str], Any]


def _document(client: Client, name: str) -> Any:  # noqa: ANN401 - any JSON value
    return client.ask("GET", vm_path(name, "/document"))


def _identities(client: Client, name: str) -> list[Json]:
    items: list[Json] = client.ask("GET", vm_path(name, "/identities"))["items"]
    return items


def _events(client: Client, name: str) -> list[Json]:
    return [*client.items("/v1/events", {"vm": name})]


def _faults(client: Client, name: str) -> list[Json]:
    """Return the faults that hit a VM: those that name it, and those without names."""
    items = client.ask("GET", "/v1/faults")["items"]
    return [one for one in items if name in one.get("vms", [name])]


def _requests(client: Client, name: str) -> list[Json]:
    return client.page("/v1/requests", {"vm": name, "limit": _LAST, "newest": "true"})


def _placement(client: Client, name: str) -> Any:  # noqa: ANN401 - any JSON value
    return client.ask("GET", vm_path(name, "/placement"))


_PARTS = (
    _Part("document", _document),
    _Part("identities", _identities),
    _Part("events", _events),
    _Part("faults", _faults),
    _Part("requests", _requests),
    _Part("placement", _placement),
)


@click.command("describe")
@click.argument("name", shell_complete=complete_name)
@watch_option
@options("state")
@output_options("sections of text")
def command(name: str, *, is_watched: bool, output: str, **flags: object) -> None:
    """Describe a VM in sections: all that the server knows of it.

    They are its state, values, identities, events, faults, limits and last requests, and the
    instance document that its guests get. A part that cannot be shown has its reason.
    """
    state = values(flags).state
    client = Client(state)
    if is_watched:
        if output:
            raise click.UsageError("--watch of a description has one form: text")
        watch_text(
            lambda: _joined(description_of(client, name)), ChangeSignal(Client(state)), _PERIOD_S
        )
        return
    description = description_of(client, name)
    print_object(output, description, lambda: click.echo(_joined(description)), name)


def description_of(client: Client, name: str) -> Json:
    """Return the parts of a description; `notShown` has the reason of each absent one.

    Raises:
        MissingError: there is no such VM.
    """
    from openimds.facts.limits import LIMITS

    vm = client.ask("GET", vm_path(name))
    reasons: dict[str, str] = {}
    parts: Json = {}
    for part in _PARTS:
        if part.key == "document" and "quarantined" in vm:
            parts[part.key], reasons[part.key] = None, vm["quarantined"]
            continue
        try:
            parts[part.key] = part.read(client, name)
        except ServerError as error:
            if isinstance(error, MissingError) and part.key == "document":
                raise
            parts[part.key], reasons[part.key] = None, str(error)
    limits = {
        row.key: {"requestsPerS": row.per_s, "concurrent": row.concurrent or None}
        for row in LIMITS.values()
    }
    return {"name": name, "vm": vm, "limits": limits, **parts, "notShown": reasons}


def _joined(description: Json) -> str:
    return "\n".join(_lines(description))


def _lines(description: Json) -> Iterator[str]:
    """Yield the text of a description; guests wrote some of it."""
    vm, reasons = description["vm"], description["notShown"]
    yield printable(description["name"])
    state = f"quarantined: {vm['quarantined']}" if "quarantined" in vm else "served"
    yield _line("State", state)
    yield _line("Revision", f"{vm['revision']}, by {vm['origin']}")
    yield from _places(vm, description)
    document = description["document"] or {}
    yield from _values(document.get("compute", {}))
    yield from _addresses(document, vm)
    yield ""
    yield from _section("Identities", description["identities"], _identity, reasons)
    yield from _section("Events", description["events"], _event, reasons)
    yield from _section("Faults", description["faults"], _fault, reasons)
    yield "Limits of requests, as Azure documents them (none with serve --no-rate-limit)"
    for key, row in description["limits"].items():
        more = f", {row['concurrent']} at once" if row["concurrent"] else ""
        yield f"  {key}: {row['requestsPerS']} a second{more}"
    yield ""
    yield from _section(
        f"Last {_LAST} requests", description["requests"], _request, reasons, "requests"
    )
    yield "Document"
    if not document:
        yield f"  not shown: {printable(reasons.get('document', 'none'))}"
        return
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    for line in text.splitlines():
        yield f"  {line}"


def _places(vm: Json, description: Json) -> Iterator[str]:
    placement = description["placement"]
    if not placement:
        if "host" in vm:
            yield _line("Host", vm["host"])
        return
    host = placement["host"] or "none"
    moves = f", moving to {placement['nextHost']}" if placement["nextHost"] else ""
    late = (
        f"; without its newest state: {', '.join(placement['lacking'])}"
        if placement["lacking"]
        else ""
    )
    yield _line("Host", f"{host}{moves}{late}")


def _values(compute: Json) -> Iterator[str]:
    rows = (
        ("Size", "vmSize"),
        ("Location", "location"),
        ("Zone", "zone"),
        ("Resource group", "resourceGroupName"),
        ("Subscription", "subscriptionId"),
        ("Scale set", "vmScaleSetName"),
        ("VM id", "vmId"),
        ("System", "osType"),
        ("Tags", "tags"),
    )
    for label, key in rows:
        if compute.get(key):
            yield _line(label, str(compute[key]))


def _addresses(document: Json, vm: Json) -> Iterator[str]:
    for interface in document.get("network", {}).get("interface", []):
        for family in ("ipv4", "ipv6"):
            for one in interface.get(family, {}).get("ipAddress", []):
                public = one.get("publicIpAddress")
                text = one.get("privateIpAddress", "") + (f", public {public}" if public else "")
                yield _line("Address", f"{text}, of {interface.get('macAddress', '')}")
    reach = vm.get("reach", {})
    for key, label in (
        ("address", "Known by"),
        ("listen", "Listens at"),
        ("interface", "Interface"),
    ):
        if value := reach.get(key):
            yield _line(label, value if isinstance(value, str) else ", ".join(value))


def _section(
    title: str,
    items: list[Json] | None,
    line_of: Callable[[Json], str],
    reasons: dict[str, str],
    key: str = "",
) -> Iterator[str]:
    yield title
    if items is None:
        yield f"  not shown: {printable(reasons[key or title.lower()])}"
    elif not items:
        yield "  none"
    for item in items or ():
        yield f"  {printable(line_of(item))}"
    yield ""


def _identity(one: Json) -> str:
    return (
        f"{one.get('resourceId', 'system-assigned')}, client id {one['clientId']}, {one['source']}"
    )


def _event(one: Json) -> str:
    approved = "approved" if one["approved"] else "not approved"
    return f"{one['id']} {one['type']} {one['status']}, not before {one['notBefore']}, {approved}"


def _fault(one: Json) -> str:
    whom = f"{len(one['vms'])} VMs" if one.get("vms") else "all VMs"
    return f"{one['id']} {one['effect']}, for {whom}, played {one['played']} times"


def _request(one: Json) -> str:
    why = f" {one['reason']}" if one["reason"] else ""
    return f"{one['at'][_DAY:]} {one['method']} {one['target']} {one['status']}{why}"


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{printable(text)}"
