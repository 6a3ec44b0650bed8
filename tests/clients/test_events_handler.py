"""The agents of Pacemaker for scheduled events, unmodified, against the real process.

`azure-events-az` and the older `azure-events` have http://169.254.169.254 written into them. Each
runs on both nodes of a pair, as a cluster would run it; only the cluster is played.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.kits import KITS
from tests.clients.rig import PROGRAMS, REAL, Ran, Stage, stage

pytestmark = [
    pytest.mark.system,
    pytest.mark.netns,
    pytest.mark.client("Python azure-events-az, azure-events"),
]

ADDRESSES = {"web-1": "127.0.0.31", "web-2": "127.0.0.32"}
FLEET = {
    "vms": {
        name: {"availabilitySet": "web", "reach": {"address": [address]}}
        for name, address in ADDRESSES.items()
    }
}
COMMANDS = ("crm_attribute", "crm_node", "crm_resource", "crm_simulate")
NOW, LATER = "2030-01-01T00:00:00.000Z", "2030-01-01T00:15:00.000Z"


class Pair:
    """Two nodes of a cluster, each with the agent, and the server that they ask."""

    def __init__(self, served: Stage, folder: Path) -> None:
        self.served, self.cluster = served, folder / "cluster"
        self._environment = {
            "AGENTS": str(KITS["guests"].place),
            "LOG": str(folder / "agent.log"),
            "PATH": f"{folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        }

    def monitor(self, agent: str, *nodes: str) -> Ran:
        """Let the cluster call the agent once on each of these nodes, one after the other."""
        cases = [{"agent": agent, "node": node, "address": ADDRESSES[node]} for node in nodes]
        ran = self.served.python("azure_events.py", cases, **self._environment)
        for result in ran.results:
            assert (result["code"], result["said"]) == (0, "")
            assert "Traceback" not in result["log"]
        return ran

    def attribute(self, node: str, name: str) -> str:
        """Return what the agent has written down of a node."""
        return (self.cluster / "attributes" / node / name).read_text()

    def openimds(self, *arguments: str) -> Any:
        """Run a command of ours and return its JSON."""
        ready = self.served.ready
        more = {"OPENIMDS_ADMIN": ready["admin"], "OPENIMDS_TOKEN_FILE": ready["token_file"]}
        command = [sys.executable, "-m", "openimds", *arguments, "--json"]
        return self.served.run(command, [], **more).results

    def declare(self, event: str) -> str:
        """Declare an event that hits web-1 in a quarter of an hour; return its id."""
        words = ("--vm", "web-1", "--in", "900", "--duration", "0")
        (made,) = self.openimds("event", "schedule", event, *words)
        assert made["status"] == "Scheduled"
        return str(made["id"])

    def document(self) -> dict[str, Any]:
        """Return what web-1 sees, by the version that the agents ask for."""
        url = "http://169.254.169.254/metadata/scheduledevents?api-version=2019-08-01"
        return self._get(url, {"Metadata": "true"})

    def log(self) -> list[tuple[str, ...]]:
        """Return who did what to events, and what came of it."""
        token = Path(self.served.ready["token_file"]).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        got = self._get(f"{self.served.ready['admin']}/v1/events/log", headers)
        names = ("event", "who", "trigger", "before", "after", "at")
        return [tuple(one.get(name) for name in names) for one in got["items"]]

    def _get(self, url: str, headers: dict[str, str]) -> dict[str, Any]:
        (got,) = self.served.python("get.py", [{"url": url, "headers": headers}]).results
        return got


def asked(*, approvals: int = 0) -> dict[str, int]:
    """Return how counters move when both nodes look once, and this often approve."""
    nodes = len(ADDRESSES)
    looked = {"requests instance 200": nodes, "requests scheduledevents 200": nodes + approvals}
    return {**looked, **({"event_moves approved": approvals} if approvals else {})}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A pair whose time stands still at `NOW`, so that nothing happens by itself."""
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "nodes").write_text("\n".join(ADDRESSES))
    (tmp_path / "bin").mkdir()
    for name in COMMANDS:
        played = f'"{sys.executable}" -ISP "{PROGRAMS / "pacemaker.py"}" "{tmp_path / "cluster"}"'
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {played} {name} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    with stage(FLEET, "--no-rate-limit", "--virtual-clock", at=REAL, cwd=tmp_path) as served:
        made = Pair(served, tmp_path)
        made.openimds("clock", "--now", NOW, "--rate", "0")
        yield made
        assert served.stop() == (0, "")


EXPECTED = {
    # Who approves, and in which round. The older one lets another node do it.
    "azure-events-az": ("web-1", 2),
    "azure-events": ("web-2", 1),
}


@pytest.mark.parametrize("agent", EXPECTED)
def test_an_event_is_approved_starts_and_goes_and_the_node_comes_back(
    pair: Pair, agent: str
) -> None:
    approver, rounds = EXPECTED[agent]
    assert pair.monitor(agent, *ADDRESSES).moved == asked()
    event = pair.declare("Reboot")
    for number in range(1, rounds + 1):
        (seen,) = pair.document()["Events"]
        assert (seen["EventId"], seen["EventStatus"]) == (event, "Scheduled")
        # The approval is one request more.
        moved = pair.monitor(agent, *ADDRESSES).moved
        assert moved == asked(approvals=int(number == rounds))
    assert pair.attribute("web-1", f"{agent}_curNodeState") == "IN_EVENT"
    waited = pair.openimds("event", "wait", event, "--started", "--timeout", "20")
    assert (waited["status"], waited["approvals"]) == ("Started", [approver])
    (seen,) = pair.document()["Events"]
    assert (seen["EventStatus"], seen["NotBefore"]) == ("Started", "")
    # While it lasts, nobody approves again.
    assert pair.monitor(agent, *ADDRESSES).moved == asked()
    pair.openimds("event", "complete", event)
    assert pair.document()["Events"] == []
    assert pair.monitor(agent, *ADDRESSES).moved == asked()
    assert pair.attribute("web-1", f"{agent}_curNodeState") == "AVAILABLE"
    assert pair.log() == [
        (event, "api 127.0.0.1", "declared", "new", "Scheduled", NOW),
        (event, approver, "approved", "Scheduled", "Started", NOW),
        (event, "api 127.0.0.1", "complete", "Started", "gone", NOW),
    ]


@pytest.mark.parametrize("agent", EXPECTED)
def test_an_event_of_a_type_that_an_agent_leaves_alone_starts_when_its_time_comes(
    pair: Pair, agent: str
) -> None:
    event = pair.declare("Freeze")
    for status in ("Scheduled", "Started"):
        assert pair.monitor(agent, *ADDRESSES).moved == asked()
        (seen,) = pair.document()["Events"]
        assert (seen["EventType"], seen["EventStatus"]) == ("Freeze", status)
        if status == "Scheduled":
            pair.openimds("clock", "--advance", "900")
            pair.openimds("event", "wait", event, "--started", "--timeout", "20")
    assert [(who, trigger, at) for _, who, trigger, _, _, at in pair.log()] == [
        ("api 127.0.0.1", "declared", NOW),
        ("time", "not-before", LATER),
    ]
