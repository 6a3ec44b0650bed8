"""`openimds kubevirt follow` as a process, beside real servers, against a replayed API.

Two nodes are one private machine: namespaces of `ip netns` are those of pods, a process stands in
each, and a folder stands for /proc, in which these processes have the control groups of pods.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from openimds.interop.kubevirt import MARK
from tests.support import waiting
from tests.support.replayed_api import line_of
from tests.support.replayed_cluster import LABEL, Vmi, pod_uid, vmi
from tests.system.machine import PRIVATE, Machine, NetnsServer, machine
from tests.system.process import COMMAND, clean_environment

pytestmark = [pytest.mark.system, pytest.mark.netns, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = "/metadata/instance/compute?api-version=2021-02-01"
NETWORK = "/metadata/instance/network?api-version=2021-02-01"
FLEET = {"vms": {"of-the-operator": {"reach": {"address": ["192.0.2.1"]}}}}
PODS = 3


class Cluster:
    """The replayed API in a machine, and the watchers of its nodes."""

    def __init__(self, host: Machine, stack: ExitStack) -> None:
        self.host, self._stack = host, stack
        self._pids: dict[int, str] = {}
        script = 'echo $$; exec env PYTHONPATH="$1" "$2" -m tests.support.serve_cluster "$3"'
        words = (str(ROOT), sys.executable, str(host.folder))
        self._api = self._start("sh", "-c", script, "sh", *words)
        assert self._api.stdout
        self.url = self._api.stdout.readline().strip()
        assert self.url.startswith("https://127.0.0.1:"), self.url

    def tell(self, method: str, *arguments: Any) -> None:
        """Change the cluster."""
        assert self._api.stdin
        assert self._api.stdout
        self._api.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._api.stdin.flush()
        assert self._api.stdout.readline() == "done\n"

    def follow(self, node: str, server: NetnsServer) -> "subprocess.Popen[str]":
        """Start the watcher of a node, beside its server."""
        environment = {
            "OPENIMDS_ADMIN": server.ready["admin"],
            "OPENIMDS_TOKEN_FILE": server.ready["token_file"],
        }
        words = ("--node", node, "--kubernetes", self.url, "--proc", "proc", "--kubernetes-ca")
        process = self._start(
            *("sh", "-c", 'echo $$; exec "$@"', "sh", "env"),
            *(f"{name}={value}" for name, value in environment.items()),
            *(*COMMAND, "kubevirt", "follow", *words, "cluster-ca.pem"),
            *("--kubernetes-token-file", "token", "--trust-firmware-uuid"),
        )
        assert process.stdout
        line = process.stdout.readline()
        while "following the instances" not in line:
            assert line, "the watcher has ended"
            line = process.stdout.readline()
        return process

    def _start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command that prints its process id; end it with the test."""
        process = self.host.start(*words)
        assert process.stdout
        pid = process.stdout.readline().strip()
        assert pid.isdecimal(), pid
        self._pids[process.pid] = pid
        self._stack.callback(self.end, process)
        return process

    def end(self, process: "subprocess.Popen[str]") -> None:
        """End a process of the machine, at most once."""
        if pid := self._pids.pop(process.pid, ""):
            self.host.run("kill", "-s", "KILL", pid, code=None)
            process.communicate(timeout=60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with machine(tmp_path) as host, ExitStack() as stack:
        for n in range(1, PODS + 1):
            quiet = "sleep infinity >/dev/null 2>&1 </dev/null"
            pid = host.shell(
                f"ip netns add cni-{n}; ip netns exec cni-{n} {quiet} & echo $!"
            ).strip()
            folder = tmp_path / "proc" / str(n)
            (folder / "ns").mkdir(parents=True)
            group = f"kubepods-besteffort-pod{pod_uid(n).replace('-', '_')}.slice"
            (folder / "cgroup").write_text(f"0::/kubepods.slice/{group}/cri-containerd-1.scope\n")
            (folder / "ns" / "net").symlink_to(f"/proc/{pid}/ns/net")
        yield Cluster(host, stack)


def until(is_met: Callable[[], bool]) -> None:
    """Wait, for as long as a loaded machine needs for a few requests a second."""
    waiting.until(is_met, 60)


def answer(host: Machine, netns: str) -> dict[str, Any]:
    """Return the compute part of the document in a namespace, or nothing.

    A moment before a listener closes, and after it opens, its callers are unknown.
    """
    text = host.request(netns, DOCUMENT)
    if text in ("", '{"error":"Not found"}'):
        return {}
    found: dict[str, Any] = json.loads(text)
    assert "error" not in found, text
    return found


def name(host: Machine, netns: str) -> str:
    return str(answer(host, netns).get("name", ""))


def listen(port: int) -> tuple[str, ...]:
    """Return the addresses of a server, in a machine whose ports are all free."""
    words = ("--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{port + 1}")
    return (*words, "--public", "none", "--no-rate-limit")


def migrated(value: Vmi, node: str, number: int) -> Vmi:
    meta = {**value["metadata"], "labels": {LABEL: node}}
    pods = {**value["status"]["activePods"], pod_uid(number): node}
    return {
        **value,
        "metadata": meta,
        "status": {**value["status"], "nodeName": node, "activePods": pods},
    }


def test_guests_are_served_through_breaks_and_410(cluster: Cluster) -> None:
    host = cluster.host
    web, db = vmi("web", "node-1"), vmi("db", "node-1", number=2)
    cluster.tell("put", web)
    with host.serving(FLEET, *listen(9100)) as server:
        cluster.follow("node-1", server)
        until(lambda: name(host, "cni-1") == "web")
        assert answer(host, "cni-1")["vmId"] == web["spec"]["domain"]["firmware"]["uuid"]
        assert name(host, "cni-2") == ""
        # A break within a line: the next watch goes on, with a guest that starts then.
        cluster.tell("await_watch", 1)
        cluster.tell("break_watches", line_of("DELETED", web)[:50].decode())
        cluster.tell("await_watch", 2)
        cluster.tell("put", db)
        until(lambda: name(host, "cni-2") == "db")
        assert name(host, "cni-1") == "web"
        # The API has forgotten the version: 410, and a list that is confirmed.
        cluster.tell("lose", web)
        until(lambda: name(host, "cni-1") == "")
        assert name(host, "cni-2") == "db"
        variables = {
            "OPENIMDS_ADMIN": server.ready["admin"],
            "OPENIMDS_TOKEN_FILE": server.ready["token_file"],
        }
        listed = host.run(*COMMAND, "vm", "list", "--output", "name", **variables).stdout
        assert listed.split() == ["lab.db", "of-the-operator"]


def test_migration_leads_to_the_server_of_the_next_node(cluster: Cluster) -> None:
    host, web = cluster.host, vmi("web", "node-1")
    cluster.tell("put", web)
    with host.serving(FLEET, *listen(9100)) as one, host.serving(FLEET, *listen(9200)) as two:
        cluster.follow("node-1", one)
        cluster.follow("node-2", two)
        until(lambda: name(host, "cni-1") == "web")
        before, cards_before = answer(host, "cni-1"), json.loads(host.request("cni-1", NETWORK))
        # KubeVirt's own order: the next pod runs, then the node changes and the cards are unknown.
        web["status"]["activePods"][pod_uid(3)] = "node-2"
        cluster.tell("put", web)
        moved = migrated(web, "node-2", 3)
        address = {"ipAddress": "10.244.7.3", "ipAddresses": ["10.244.7.3"]}
        cards = [{**moved["status"]["interfaces"][0], **address}]
        cluster.tell("put", {**moved, "status": {**moved["status"], "interfaces": []}})
        until(lambda: name(host, "cni-1") == "")
        assert name(host, "cni-3") == ""
        cluster.tell("put", {**moved, "status": {**moved["status"], "interfaces": cards}})
        until(lambda: name(host, "cni-3") == "web")
        after = answer(host, "cni-3")
        for tag in (before, after):  # It has a digest of the node and of the cards.
            tag.pop("tags")
            tag["tagsList"] = [one for one in tag["tagsList"] if one["name"] != MARK]
        assert after == before
        for card in cards_before["interface"]:
            card["ipv4"]["ipAddress"][0]["privateIpAddress"] = "10.244.7.3"
            card["ipv4"]["subnet"][0]["address"] = "10.244.7.0"
        assert json.loads(host.request("cni-3", NETWORK)) == cards_before
        assert name(host, "cni-1") == ""


def test_server_and_watcher_that_start_anew_converge(cluster: Cluster) -> None:
    host, web, db = cluster.host, vmi("web", "node-1"), vmi("db", "node-1", number=2)
    for value in (web, db):
        cluster.tell("put", value)
    with host.serving(FLEET, *listen(9100)) as server:
        watcher = cluster.follow("node-1", server)
        until(lambda: name(host, "cni-1") == "web")
    # The server was killed, and had no state. The next one has the same token file.
    with host.serving(FLEET, *listen(9100)) as server:
        until(lambda: name(host, "cni-1") == "web" and name(host, "cni-2") == "db")
        cluster.end(watcher)
        cluster.tell("delete", db)
        assert name(host, "cni-2") == "db"
        cluster.follow("node-1", server)
        until(lambda: name(host, "cni-2") == "")
        assert name(host, "cni-1") == "web"


def test_sigterm_ends_the_watcher_as_pid_1_of_its_container(tmp_path: Path) -> None:
    words = ("--node", "node-1", "--kubernetes", "http://127.0.0.1:1", "--log-format", "json")
    with subprocess.Popen(
        [*PRIVATE, *COMMAND, "kubevirt", "follow", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment({"XDG_STATE_HOME": str(tmp_path)}),
    ) as running:
        try:
            assert running.stdout
            assert running.stdout.readline() == "following the instances on node-1\n"
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text()
            os.kill(int(children), signal.SIGTERM)
            _, log = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 0
    assert json.loads(log.splitlines()[0])["pid"] == 1
