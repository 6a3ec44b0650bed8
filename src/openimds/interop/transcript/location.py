"""The document and the path that the target of a request leads to."""

from functools import cache

from msgspec import Struct

from openimds.facts.document import OLD_NAMES
from openimds.interop.transcript.json_scan import Steps
from openimds.protocol.request import parse_query
from openimds.vm.schema_tree import Group, Leaf, Node, newest_tree, nodes

INSTANCE, VERSIONS, ATTESTED = "instance", "versions", "attested"
BALANCER, EVENTS, ROOT = "loadbalancer", "scheduledevents", "root"


class Location(Struct, frozen=True):
    """The place that a target leads to.

    `document` is the key of the endpoint, empty where there is none. `steps` is the path in the
    document, as the target writes it; `is_text` means format=text.
    """

    document: str
    version: str
    steps: Steps = ()
    is_text: bool = False

    @property
    def is_listing(self) -> bool:
        """Tell whether an answer as text lists members, by the newest fields."""
        return self.is_text and not isinstance(_tree().get(field_path(self.steps)), Leaf)


def locate(target: str) -> Location:
    """Return the location of a target, parsed as IMDS parses it."""
    parsed = parse_query("GET", target.encode())
    steps = tuple(int(step) if step.isdecimal() else step for step in parsed.route)
    return Location(
        parsed.endpoint.key if parsed.endpoint else "",
        parsed.parameters.get("api-version", ""),
        steps,
        parsed.parameters.get("format", "").lower() == "text",
    )


def field_path(steps: Steps) -> str:
    """Return the path of a field row from steps in any version of the document.

    Names without a row stay as they are.
    """
    path = ""
    for step in steps:
        if isinstance(step, int):
            path = f"{path}[]"
        else:
            path = f"{path}.{_newest_name(path, step)}".lstrip(".")
    return path


def written(steps: Steps, *, is_shape: bool = True) -> str:
    """Return steps as a path; in a shape, every element of an array is `[]`."""
    text = "".join(
        f"[{'' if is_shape else step}]" if isinstance(step, int) else f".{step}" for step in steps
    )
    return text.removeprefix(".")


def _newest_name(above: str, name: str) -> str:
    """Return the name of a member in the newest document; letter case does not count."""
    below = _names(above)
    old = {row.name: row.path for row in OLD_NAMES if row.path.rpartition(".")[0] == above}
    if name in old:
        return old[name].rpartition(".")[2]
    return below.get(name.lower(), name)


def _names(above: str) -> dict[str, str]:
    node = _tree().get(above)
    return {name.lower(): name for name in node.members} if isinstance(node, Group) else {}


@cache
def _tree() -> dict[str, Node]:
    """Return the nodes of the newest document by their path."""
    return {node.path: node for node in nodes(newest_tree())}
