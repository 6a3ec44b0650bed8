"""Scheduled events of the real process: operators declare, guests see, the hook gets entries."""

import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.support.waiting import until
from tests.system.process import Server, run, serving

pytestmark = pytest.mark.system

EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
FLEET = {
    "vms": {
        "as-1": {"availabilitySet": "as", "reach": {"address": ["127.0.0.11"]}},
        "as-2": {"availabilitySet": "as", "reach": {"address": ["127.0.0.12"]}},
        "lone": {"reach": {"address": ["127.0.0.13"]}},
    }
}
ADDRESSES = {"as-1": "127.0.0.11", "as-2": "127.0.0.12", "lone": "127.0.0.13"}
QUICK = ("--no-rate-limit", "--state", "state", "--fleet", "fleet.json")


@pytest.fixture(autouse=True)
def _fleet(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text(json.dumps(FLEET))


def guest(server: Server, vm: str, method: str = "GET", body: str = "") -> tuple[int, Any]:
    where = urlsplit(server.url).netloc
    http = HTTPConnection(where, timeout=10, source_address=(ADDRESSES[vm], 0))
    http.request(method, EVENTS, body or None, {"Metadata": "true"})
    got = http.getresponse()
    text = got.read()
    http.close()
    return got.status, json.loads(text) if text else None


def seen(server: Server, vm: str) -> Any:
    status, document = guest(server, vm)
    assert status == 200
    return document


def command(server: Server, cwd: Path, *arguments: str) -> Any:
    """Run a command against a server and return its JSON."""
    got = try_command(server, cwd, *arguments, "--json")
    assert got.returncode == 0, got.stderr
    return json.loads(got.stdout)


def try_command(server: Server, cwd: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(*arguments, cwd=cwd, **server.variables)


def approval(event_id: str) -> str:
    return json.dumps({"StartRequests": [{"EventId": event_id}]})


def test_event_is_seen_approved_started_and_completed(tmp_path: Path) -> None:
    with serving(*QUICK, cwd=tmp_path) as server:
        assert seen(server, "as-1") == {"DocumentIncarnation": 0, "Events": []}
        scheduled = command(
            server, tmp_path, "event", "schedule", "Reboot", "--vm", "as-1", "--in", "600"
        )
        (event_id,) = [event["id"] for event in scheduled]
        # The other member sees it as well; the VM outside the set does not.
        assert seen(server, "as-1") == seen(server, "as-2")
        (event,) = seen(server, "as-2")["Events"]
        assert (event["EventId"], event["EventStatus"]) == (event_id, "Scheduled")
        assert event["Resources"] == ["as-1"]
        assert seen(server, "lone") == {"DocumentIncarnation": 0, "Events": []}
        assert guest(server, "lone", "POST", approval(event_id))[0] == 400
        assert guest(server, "as-2", "POST", approval(event_id)) == (200, None)
        assert guest(server, "as-2", "POST", approval(event_id)) == (200, None)
        document = seen(server, "as-1")
        (event,) = document["Events"]
        assert (document["DocumentIncarnation"], event["EventStatus"]) == (2, "Started")
        assert (event["EventId"], event["NotBefore"]) == (event_id, "")
        assert command(server, tmp_path, "event", "wait", event_id)["approved"] is True
        command(server, tmp_path, "event", "complete", event_id)
        assert seen(server, "as-1") == {"DocumentIncarnation": 3, "Events": []}
        assert command(server, tmp_path, "event", "list") == []


def test_each_scope_gets_one_event_with_ids_of_any_case(tmp_path: Path) -> None:
    with serving(*QUICK, cwd=tmp_path) as server:
        printed = try_command(
            server, tmp_path, "event", "schedule", "freeze", "--vm", "as-1", "as-2", "lone"
        )
        assert printed.returncode == 0, printed.stderr
        first, second = printed.stdout.split()
        assert first == first.upper() != second
        assert [event["EventId"] for event in seen(server, "as-2")["Events"]] == [first]
        assert [event["EventId"] for event in seen(server, "lone")["Events"]] == [second]
        command(server, tmp_path, "event", "cancel", first.lower())
        assert seen(server, "as-1") == {"DocumentIncarnation": 2, "Events": []}
        gone = try_command(server, tmp_path, "event", "cancel", first)
        assert (gone.returncode, "there is no event" in gone.stderr) == (1, True)
        listed = try_command(server, tmp_path, "event", "list").stdout.splitlines()
        assert listed[1].split("\t")[:3] == [second, "Freeze", "Scheduled"]


def test_events_survive_a_killed_process(tmp_path: Path) -> None:
    with serving(*QUICK, cwd=tmp_path) as server:
        for kind in ("Reboot", "Redeploy"):
            command(server, tmp_path, "event", "schedule", kind, "--vm", "as-1", "as-2")
        first = seen(server, "as-1")["Events"][0]["EventId"]
        assert guest(server, "as-1", "POST", approval(first)) == (200, None)
        before = seen(server, "as-1")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(timeout=10)
    with serving(*QUICK, cwd=tmp_path) as server:
        assert seen(server, "as-2") == before
        assert (before["DocumentIncarnation"], len(before["Events"])) == (3, 2)
        (log,) = [command(server, tmp_path, "event", "list")]
        assert [event["status"] for event in log] == ["Started", "Scheduled"]


def test_virtual_clock_drives_not_before_and_survives_a_restart(tmp_path: Path) -> None:
    with serving(*QUICK, "--virtual-clock", cwd=tmp_path) as server:
        command(server, tmp_path, "clock", "--now", "2030-01-01T00:00:00Z", "--rate", "0")
        (event,) = command(server, tmp_path, "event", "schedule", "Freeze", "--vm", "lone")
        shown = seen(server, "lone")["Events"][0]
        assert shown["NotBefore"] == "Tue, 01 Jan 2030 00:15:00 GMT"
        command(server, tmp_path, "clock", "--advance", "899")
        assert seen(server, "lone")["Events"][0]["EventStatus"] == "Scheduled"
        command(server, tmp_path, "clock", "--advance", "1")
        assert seen(server, "lone")["Events"][0]["EventStatus"] == "Started"
        # The event is completed after ten minutes; the wait has begun long before.
        wait = ("event", "wait", event["id"], "--gone", "--timeout", "60")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(command, server, tmp_path, *wait)
            for _ in range(4):
                command(server, tmp_path, "clock", "--advance", "140")
            assert seen(server, "lone")["Events"][0]["EventStatus"] == "Started"
            command(server, tmp_path, "clock", "--rate", "600")
            assert waiting.result()["status"] == "gone"
        assert seen(server, "lone") == {"DocumentIncarnation": 3, "Events": []}
        command(server, tmp_path, "clock", "--rate", "0")
        before = command(server, tmp_path, "clock")["now"]
        server.stop()
    with serving(*QUICK, "--virtual-clock", cwd=tmp_path) as server:
        assert command(server, tmp_path, "clock")["now"] == before
        assert before.startswith("2030-01-01T00:")


def test_server_has_no_virtual_clock_without_the_flag(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server:
        got = try_command(server, tmp_path, "clock", "--advance", "1")
        assert (got.returncode, "--virtual-clock" in got.stderr) == (1, True)
        assert command(server, tmp_path, "clock")["virtual"] is False


def test_hook_gets_each_entry_once_also_after_a_restart(tmp_path: Path) -> None:
    script = tmp_path / "hook.py"
    script.write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[1]).open('a')\n"
        "file.write(sys.stdin.read())\n"
    )
    delivered = tmp_path / "delivered"
    hook = ("--event-hook", f"{sys.executable} {script} {delivered}")

    def delivered_since_start(server: Server) -> float:
        metrics = urlopen(f"{server.ready['admin']}/metrics", timeout=10).read().decode()
        name = "openimds_event_hook_told_total"  # words: the name of the metric
        (value,) = re.findall(rf"^{name} (\S+)$", metrics, re.MULTILINE)
        return float(value)

    with serving(*QUICK, *hook, cwd=tmp_path) as server:
        (event,) = command(server, tmp_path, "event", "schedule", "Reboot", "--vm", "lone")
        # A hook that is cut short after writing would get the entry again: wait for its end.
        until(lambda: delivered_since_start(server) == 1)
        server.stop()
    with serving(*QUICK, *hook, cwd=tmp_path) as server:
        command(server, tmp_path, "event", "start", event["id"])
        until(lambda: delivered_since_start(server) == 1)
        entries = [json.loads(line) for line in delivered.read_text().splitlines()]
        assert [(entry["trigger"], entry["after"], entry["event"]) for entry in entries] == [
            ("declared", "Scheduled", event["id"]),
            ("start", "Started", event["id"]),
        ]


def test_scenario_of_the_fleet_file_survives_edits_and_runs_once(tmp_path: Path) -> None:
    line = {"type": "Reboot", "vms": ["lone"], "at_s": 60, "notice_s": 30}
    fleet = {**FLEET, "events": [line]}
    (tmp_path / "fleet.json").write_text(json.dumps(fleet))
    with serving(*QUICK, "--virtual-clock", cwd=tmp_path) as server:
        assert seen(server, "lone")["Events"] == []
        command(server, tmp_path, "clock", "--rate", "0")
        command(server, tmp_path, "clock", "--advance", "61")
        assert [event["EventStatus"] for event in seen(server, "lone")["Events"]] == ["Scheduled"]
        edited = {"vms": {**FLEET["vms"], "new": {"reach": {"address": ["127.0.0.14"]}}}}
        (tmp_path / "fleet.json").write_text(json.dumps({**edited, "events": [line]}))
        until(lambda: len(command(server, tmp_path, "vm", "list")) == 4)
        command(server, tmp_path, "clock", "--advance", "20")
        assert seen(server, "lone")["DocumentIncarnation"] == 1
        server.stop()
    with serving(*QUICK, "--virtual-clock", cwd=tmp_path) as server:
        command(server, tmp_path, "clock", "--advance", "5")
        assert seen(server, "lone")["DocumentIncarnation"] == 1


def test_bad_scenario_stops_the_start_and_names_its_path(tmp_path: Path) -> None:
    bad = {**FLEET, "events": [{"type": "Reboot", "vms": ["alone"]}]}
    (tmp_path / "fleet.json").write_text(json.dumps(bad))
    got = run("serve", "--fleet", "fleet.json", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert got.returncode == 2
    assert got.stderr.startswith('openimds: fleet.json: events[0].vms: saw unknown VM "alone"')


class TaggedClient:
    """Polls as the clients of S74: fails without `ETag`, prints new documents alone.

    It sends the value back as it came, and reads the body of a 200 alone.
    """

    def __init__(self, server: Server, vm: str) -> None:
        self._server, self._vm, self._tag = server, vm, ""
        self.printed: list[int] = []

    def poll(self) -> int:
        """Return the status of a request."""
        where = urlsplit(self._server.url).netloc
        http = HTTPConnection(where, timeout=10, source_address=(ADDRESSES[self._vm], 0))
        condition = {"If-None-Match": self._tag} if self._tag else {}
        http.request("GET", EVENTS, headers={"Metadata": "true", **condition})
        got = http.getresponse()
        body = got.read()
        http.close()
        (self._tag,) = got.headers.get_all("ETag", [])
        assert '"' not in self._tag
        if got.status == 200:
            self.printed.append(json.loads(body)["DocumentIncarnation"])
        else:
            assert body == b""
        return got.status


def test_client_that_reads_etag_gets_each_document_once(tmp_path: Path) -> None:
    with serving(*QUICK, cwd=tmp_path) as server:
        clients = [TaggedClient(server, vm) for vm in ("as-1", "lone")]
        polls = [[client.poll() for client in clients] for _ in range(2)]
        scheduled = command(
            server, tmp_path, "event", "schedule", "Reboot", "--vm", "as-1", "--in", "600"
        )
        (event_id,) = [event["id"] for event in scheduled]
        polls += [[client.poll() for client in clients] for _ in range(2)]
        assert guest(server, "as-1", "POST", approval(event_id))[0] == 200
        polls.append([client.poll() for client in clients])
        # The other client moves into the scope of the first, and sees its document.
        (tmp_path / "patch.json").write_text('{"availabilitySet": "as"}')
        command(server, tmp_path, "vm", "patch", "lone", "patch.json")
        polls.append([client.poll() for client in clients])
    first, other = zip(*polls, strict=True)
    assert first == (200, 304, 200, 304, 200, 304)
    assert other == (200, 304, 304, 304, 304, 200)
    assert clients[0].printed == [0, 1, 2]
    assert clients[1].printed == [0, 2]
