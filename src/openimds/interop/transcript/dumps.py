"""Instance documents that other tools keep inside their dumps.

cloud-init has the body that it got in `ds.meta_data.imds` of `instance-data.json`, facter the body
in the fact `az_metadata` (Puppet's reports have facts under `values`), and Ohai the values in
`azure.metadata`, with interfaces by their hardware address (Chef's nodes have them under
`automatic`). A body of `/metadata/instance/compute` alone is a document without a network.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

REDACTED = "redacted for non-root user"
"""The text that cloud-init writes for values in the file that everybody may read."""
_ABOVE = ("", "values", "facts", "automatic")
"""Members that hold the facts of one machine."""
_COMPUTE = ("vmid", "vmsize")
"""Members of `compute` at every api-version."""
_NOT_COMPUTE = ("hardwareprofile", "powerstate", "properties", "compute")
"""Members of other objects with an id and a size: those of az and of ARM."""
_FAMILIES = ("ipv4", "ipv6")


class DumpedDocument(Struct, frozen=True):
    """The instance document in a dump.

    Attributes:
        body: the document.
        path: its path in the dump; a compute body has none.
        hidden: paths of values that the dump hides.
    """

    body: dict[str, Any]
    path: str
    hidden: tuple[str, ...] = ()


def dumped_document(value: object) -> DumpedDocument | None:
    """Return the instance document in a dump of a known tool, else None."""
    if not isinstance(value, dict):
        return None
    names = {str(name).lower(): member for name, member in value.items()}
    if all(isinstance(names.get(name), str) for name in _COMPUTE) and not names.keys() & {
        *_NOT_COMPUTE
    }:
        return DumpedDocument({"compute": value}, "")
    for path, find in _PLACES:
        for above in _ABOVE:
            owner = value.get(above) if above else value
            body = find(owner) if isinstance(owner, dict) else None
            if body is not None:
                where = f"{above}.{path}" if above else path
                hidden = tuple(_hidden(body, where))
                return DumpedDocument(_without_hidden(body), where, hidden)
    return None


def _member(value: object, *names: str) -> Any:  # noqa: ANN401 - any JSON value
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _of_cloud_init(value: dict[str, Any]) -> dict[str, Any] | None:
    body = _member(value, "ds", "meta_data", "imds")
    return body if _is_document(body) else None


def _of_facter(value: dict[str, Any]) -> dict[str, Any] | None:
    body = value.get("az_metadata")
    return body if _is_document(body) else None


def _of_ohai(value: dict[str, Any]) -> dict[str, Any] | None:
    body = _member(value, "azure", "metadata")
    if not _is_document(body):
        return None
    interfaces = _member(body, "network", "interfaces")
    if not isinstance(interfaces, dict):
        return {"compute": body["compute"]}
    cards = [_card(card) for card in interfaces.values() if isinstance(card, dict)]
    return {"compute": body["compute"], "network": {"interface": cards}}


def _card(card: dict[str, Any]) -> dict[str, Any]:
    """Return an interface of Ohai as the document has it.

    Its lists have no pairs: the nth public address was that of the nth private one.
    """
    made: dict[str, Any] = {"macAddress": card.get("mac") or ""}
    for family in _FAMILIES:
        private, public = (card.get(f"{kind}_{family}") or [] for kind in ("local", "public"))
        addresses = [{"privateIpAddress": address} for address in private]
        if family == "ipv4":
            for i, address in enumerate(addresses):
                address["publicIpAddress"] = public[i] if i < len(public) else ""
        made[family] = {"ipAddress": addresses}
    return made


def _is_document(body: object) -> bool:
    return isinstance(_member(body, "compute"), dict)


_PLACES: tuple[tuple[str, Callable[[dict[str, Any]], dict[str, Any] | None]], ...] = (
    ("ds.meta_data.imds", _of_cloud_init),
    ("az_metadata", _of_facter),
    ("azure.metadata", _of_ohai),
)


def _hidden(value: object, path: str) -> Iterator[str]:
    """Yield the paths of values that cloud-init hides."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _hidden(member, f"{path}.{name}")
    elif value == REDACTED:
        yield path


def _without_hidden(value: dict[str, Any]) -> dict[str, Any]:
    """Return a document without the values that cloud-init hides."""
    return {
        name: _without_hidden(member) if isinstance(member, dict) else member
        for name, member in value.items()
        if member != REDACTED
    }
