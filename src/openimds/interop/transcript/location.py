"""Where in which document a target leads, and what a path there is called today."""

from functools import cache

from msgspec import Struct

from openimds.facts.document import OLD_NAMES
from openimds.interop.transcript.json_scan import Steps
from openimds.protocol.request import query
from openimds.vm.schema_tree import Group, Leaf, Node, newest_tree, nodes

INSTANCE, VERSIONS, ATTESTED = "instance", "versions", "attested"
BALANCER, EVENTS, ROOT = "loadbalancer", "scheduledevents", "root"


class Location(Struct, frozen=True):
    """What a target asks for.

    `document` is the key of the endpoint, empty where there is none. `steps` is the way into it, as
    the target writes it; `is_text` says that it is not wanted as JSON.
    """

    document: str
    version: str
    steps: Steps = ()
    is_text: bool = False

    @property
    def is_listing(self) -> bool:
        """Tell whether the answer as text lists what is below, by the fields that are known."""
        return self.is_text and not isinstance(_tree().get(field_path(self.steps)), Leaf)


def locate(target: str) -> Location:
    """Return where a target leads, read as IMDS reads it."""
    asked = query("GET", target.encode())
    route = tuple(int(one) if one.isdecimal() else one for one in asked.route)
    return Location(
        asked.endpoint.key if asked.endpoint else "",
        asked.parameters.get("api-version", ""),
        route,
        asked.parameters.get("format", "").lower() == "text",
    )


def field_path(steps: Steps) -> str:
    """Return the path of a field row that a way into an instance document of any version leads to.

    Names that no row knows stay as they are.
    """
    path = ""
    for step in steps:
        path = f"{path}[]" if isinstance(step, int) else f"{path}.{_today(path, step)}".lstrip(".")
    return path


def written(steps: Steps, *, is_shape: bool = True) -> str:
    """Return a way as a path; in a shape, every element of an array is `[]`."""
    text = "".join(
        f"[{'' if is_shape else step}]" if isinstance(step, int) else f".{step}" for step in steps
    )
    return text.removeprefix(".")


def _today(above: str, name: str) -> str:
    """Return what a member is called in the newest document, whatever its letter case."""
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
