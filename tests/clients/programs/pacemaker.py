"""Fakes the commands of Pacemaker that its Azure agents call: a cluster of idle nodes.

Attributes are stored in files of the cluster's folder; its file `nodes` has a name in each line. No
resource runs anywhere, so a node on standby is empty at once.
"""

import argparse
import sys
from pathlib import Path


def crm_attribute(cluster: Path, arguments: list[str]) -> str:
    """Set, delete or return an attribute of a node or of the cluster."""
    parser = argparse.ArgumentParser("crm_attribute", allow_abbrev=False)
    parser.add_argument("-n", "--name", required=True)
    parser.add_argument("-N", "--node", default="(cluster)")
    parser.add_argument("-v", "--update")
    parser.add_argument("-t", "--type")
    parser.add_argument("--default", default="")
    parser.add_argument("--lifetime")
    parser.add_argument("--delete", action="store_true")
    parser.add_argument("--query", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    attribute = cluster / "attributes" / options.node / options.name
    if options.query:
        value = attribute.read_text() if attribute.exists() else options.default
        return str(value)
    if options.delete:
        attribute.unlink(missing_ok=True)
    else:
        attribute.parent.mkdir(parents=True, exist_ok=True)
        attribute.write_text(options.update)
    return ""


def output(cluster: Path, command: str, arguments: list[str]) -> str:
    """Return the output of a command."""
    if command == "crm_attribute":
        return crm_attribute(cluster, arguments)
    nodes = (cluster / "nodes").read_text().split()
    known: dict[tuple[str, ...], str] = {
        ("crm_node", "--list"): "\n".join(
            f"{number} {node} member" for number, node in enumerate(nodes, 1)
        ),
        ("crm_simulate", "-Ls"): "Transition Summary:",
        **{("crm_resource", "--list-operations", "-N", node): "" for node in nodes},
    }
    return known[command, *arguments]


if __name__ == "__main__":
    print(output(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))  # noqa: T201 - the output
