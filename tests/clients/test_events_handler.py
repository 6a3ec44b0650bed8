"""Pacemaker's agents for scheduled events, unmodified, against the real process.

`azure-events-az` and the older `azure-events` have http://169.254.169.254 written into them. Each
runs on both nodes of a pair, as a cluster would run it; only the cluster is a fake.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.kits import KITS
from tests.clients.private_server import PROGRAMS, REAL, CasesRun, PrivateServer, private_server

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
    """Two nodes of a cluster, each with the agent, and their server."""

    def __init__(self, served: PrivateServer, folder: Path) -> None:
        self.served, self.cluster = served, folder / "cluster"
        self._environment = {
            "AGENTS": str(KITS["guests"].place),
            "LOG": str(folder / "agent.log"),
            "PATH": f"{folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        }

    def monitor(self, agent: str, *nodes: str) -> CasesRun:
        """Call the agent once on each of these nodes, in turn."""
        cases = [{"agent": agent, "node": node, "address": ADDRESSES[node]} for node in nodes]
        ran = self.served.python("azure_events.py", cases, **self._environment)
        for result in ran.results:
            assert (result["code"], result["stderr"]) == (0, "")
            assert "Traceback" not in result["log"]
        return ran

    def attribute(self, node: str, name: str) -> str:
        """Return an attribute that the agent has set."""
        return (self.cluster / "attributes" / node / name).read_text()

    def declare(self, kind: str) -> str:
        """Declare an event of web-1 in a quarter of an hour; return its id."""
        words = ("--vm", "web-1", "--in", "900", "--duration", "0")
        (event,) = self.served.openimds("event", "schedule", kind, *words)
        assert event["status"] == "Scheduled"
        return str(event["id"])

    def document(self) -> dict[str, Any]:
        """Return the document of web-1, by the api-version of the agents."""
        url = "http://169.254.169.254/metadata/scheduledevents?api-version=2019-08-01"
        return self._get(url, {"Metadata": "true"})

    def log(self) -> list[tuple[str, ...]]:
        """Return the event log: event, origin, trigger, statuses and time of each entry."""
        token = Path(self.served.ready["token_file"]).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        got = self._get(f"{self.served.ready['admin']}/v1/events/log", headers)
        names = ("event", "who", "trigger", "before", "after", "at")
        return [tuple(entry.get(name) for name in names) for entry in got["items"]]

    def _get(self, url: str, headers: dict[str, str]) -> dict[str, Any]:
        (got,) = self.served.python("get.py", [{"url": url, "headers": headers}]).results
        return got


def counted(*, approvals: int = 0) -> dict[str, int]:
    """Return the changes of counters when both nodes poll once, with some approvals."""
    nodes = len(ADDRESSES)
    polls = {"requests instance 200": nodes, "requests scheduledevents 200": nodes + approvals}
    return {**polls, **({"event_moves approved": approvals} if approvals else {})}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A pair whose clock is stopped at `NOW`, so that no event starts by itself."""
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "nodes").write_text("\n".join(ADDRESSES))
    (tmp_path / "bin").mkdir()
    for name in COMMANDS:
        fake = f'"{sys.executable}" -ISP "{PROGRAMS / "pacemaker.py"}" "{tmp_path / "cluster"}"'
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {fake} {name} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    with private_server(
        FLEET, "--no-rate-limit", "--virtual-clock", at=REAL, cwd=tmp_path
    ) as served:
        served.openimds("clock", "--now", NOW, "--rate", "0")
        yield Pair(served, tmp_path)
        assert served.stop() == (0, "")


EXPECTED = {
    # The approving node and the round. The older agent approves on the other node.
    "azure-events-az": ("web-1", 2),
    "azure-events": ("web-2", 1),
}


@pytest.mark.parametrize("agent", EXPECTED)
def test_reboot_is_approved_and_the_node_comes_back(pair: Pair, agent: str) -> None:
    approver, rounds = EXPECTED[agent]
    assert pair.monitor(agent, *ADDRESSES).moved == counted()
    event = pair.declare("Reboot")
    for number in range(1, rounds + 1):
        (seen,) = pair.document()["Events"]
        assert (seen["EventId"], seen["EventStatus"]) == (event, "Scheduled")
        # The approval is a further request.
        moved = pair.monitor(agent, *ADDRESSES).moved
        assert moved == counted(approvals=int(number == rounds))
    assert pair.attribute("web-1", f"{agent}_curNodeState") == "IN_EVENT"
    waited = pair.served.openimds("event", "wait", event, "--started", "--timeout", "20")
    assert (waited["status"], waited["approvals"]) == ("Started", [approver])
    (seen,) = pair.document()["Events"]
    assert (seen["EventStatus"], seen["NotBefore"]) == ("Started", "")
    # A started event is not approved again.
    assert pair.monitor(agent, *ADDRESSES).moved == counted()
    pair.served.openimds("event", "complete", event)
    assert pair.document()["Events"] == []
    assert pair.monitor(agent, *ADDRESSES).moved == counted()
    assert pair.attribute("web-1", f"{agent}_curNodeState") == "AVAILABLE"
    assert pair.log() == [
        (event, "api 127.0.0.1 token:local", "declared", "new", "Scheduled", NOW),
        (event, approver, "approved", "Scheduled", "Started", NOW),
        (event, "api 127.0.0.1 token:local", "complete", "Started", "gone", NOW),
    ]


@pytest.mark.parametrize("agent", EXPECTED)
def test_freeze_is_not_approved_and_starts_at_its_time(pair: Pair, agent: str) -> None:
    event = pair.declare("Freeze")
    for status in ("Scheduled", "Started"):
        assert pair.monitor(agent, *ADDRESSES).moved == counted()
        (seen,) = pair.document()["Events"]
        assert (seen["EventType"], seen["EventStatus"]) == ("Freeze", status)
        if status == "Scheduled":
            pair.served.openimds("clock", "--advance", "900")
            pair.served.openimds("event", "wait", event, "--started", "--timeout", "20")
    assert [(who, trigger, at) for _, who, trigger, _, _, at in pair.log()] == [
        ("api 127.0.0.1 token:local", "declared", NOW),
        ("time", "not-before", LATER),
    ]
