"""The server or its control is killed under all writers: nothing acknowledged is lost.

`OPENIMDS_CRASH_ROUNDS=200` runs the long form; it prints its counts (`pytest -s`).
"""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.waiting import until
from tests.system.crash_writers import (
    ApiVms,
    ApprovedEvents,
    Backups,
    Faults,
    FileEdits,
    Guests,
    Identities,
    OrderedEvents,
    Round,
    TagsOfFileVms,
    VirtualClock,
    Writer,
)
from tests.system.process import Server, run, serving

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("OPENIMDS_CRASH_ROUNDS", "8"))
MOST_WRITES = 240
MOST_IN_A_ROW = 2
"""Deaths of control, one after another: each doubles the pause before it starts anew."""


class History:
    """The audit and the event log, read on from round to round."""

    def __init__(self) -> None:
        self.vms: dict[str, dict[str, Any]] = {}
        self.events: dict[str, str] = {}
        self.change = self.entry = 0

    def follow(self, api: httpx2.Client) -> None:
        """Read on; each entry must follow from those before."""
        for entry in pages(api, "/v1/audit", str(self.change)):
            assert entry["revision"] > self.change
            self.change = entry["revision"]
            before = self.vms.pop(entry["name"], None)
            assert entry["before"] == (before and before["fields"])
            assert entry["kind"] == ("remove" if entry["after"] is None else "put")
            if entry["after"] is not None:
                self.vms[entry["name"]] = {"fields": entry["after"], "revision": self.change}
        for entry in pages(api, "/v1/events/log", str(self.entry)):
            assert entry["number"] > self.entry
            self.entry = entry["number"]
            assert entry["before"] == self.events.get(entry["event"], "new")
            self.events[entry["event"]] = entry["after"]

    def check(self, api: httpx2.Client) -> None:
        """Compare the VMs and events of the server with their histories."""
        self.follow(api)
        vms = {vm["name"]: vm for vm in pages(api, "/v1/vms")}
        assert {
            name: {key: value for key, value in vm.items() if key not in ("name", "origin")}
            for name, vm in vms.items()
        } == {name: {**vm["fields"], "revision": vm["revision"]} for name, vm in self.vms.items()}
        events = {event["id"]: event["status"] for event in pages(api, "/v1/events")}
        assert events == {
            key: status for key, status in self.events.items() if status in ("Scheduled", "Started")
        }


def pages(api: httpx2.Client, path: str, cursor: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    query = {"cursor": cursor} if cursor else {}
    while True:
        page = api.get(path, params={"limit": "1000", **query}).raise_for_status().json()
        items += page["items"]
        if page["next"] is None:
            return items
        query = {"cursor": page["next"]}


def control_of(server: Server) -> int | None:
    """Return the id of the control process, or None between two of them."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return next(map(int, children.read_text().split()), None)


def kill_control(server: Server) -> None:
    child = control_of(server)
    assert child
    os.kill(child, signal.SIGKILL)


def kill_control_twice(server: Server) -> None:
    """Kill control, and the next one while it starts."""
    kill_control(server)
    wait_for(server, "guests are served on")
    until(lambda: control_of(server) is not None)
    kill_control(server)
    wait_for(server, "control cannot start", "guests are served on")


def wait_for(server: Server, *texts: str) -> None:
    """Wait for a message with one of these texts."""
    line = ""
    while not any(text in line for text in texts):
        line = server.next_line()


SERVER = "server"
DEATHS: dict[str, Callable[[Server], None]] = {
    SERVER: lambda server: server.process.kill(),
    "control": kill_control,
    "control, and again while it starts": kill_control_twice,
}


class Campaign:
    """All writers, guests and backups, over any number of servers."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        vms, file = [f"api-{number}" for number in range(6)], folder / "fleet.json"
        self.writers: list[Writer[Any]] = [
            ApiVms(tuple(vms[:3]), chance.getrandbits(32)),
            ApiVms(tuple(vms[3:]), chance.getrandbits(32)),
            FileEdits(file, chance.getrandbits(32)),
            TagsOfFileVms(chance.getrandbits(32)),
            OrderedEvents(chance.getrandbits(32)),
            ApprovedEvents(chance.getrandbits(32)),
            Identities(0, chance.getrandbits(32)),
            Faults(chance.getrandbits(32)),
            VirtualClock(0, chance.getrandbits(32)),
        ]
        self.chance, self.threads = chance, ThreadPoolExecutor(len(self.writers) + 2)
        self.guests, self.history = Guests(), History()
        self.backups = Backups(folder / "kept/fleet.db", folder / "backup.db")
        self.deaths, self._in_a_row = Counter[str](), 0

    def run_round(self, server: Server) -> bool:
        """Check the server, write, and kill it; return whether it is to be started anew."""
        now = Round(server)
        self.check(now)
        asking = self.threads.submit(self.guests.ask_until_the_end, now)
        work: list[Future[None]] = [
            self.threads.submit(writer.write_until_the_end) for writer in self.writers
        ]
        work.append(self.threads.submit(self.backups.back_up, self._last_revision))
        # The kill comes after a number of responses, somewhere between two of them.
        for _ in range(self.chance.randrange(1, MOST_WRITES)):
            now.written.acquire()
        for _ in range(self.chance.randrange(4000)):
            os.sched_yield()
        death = self._next_death()
        now.may_fail.set()
        DEATHS[death](server)
        now.is_over.set()
        with suppress(httpx2.TransportError) if death == SERVER else nullcontext():
            asking.result(60)  # Without control, guests are served on.
        if death != SERVER:
            wait_for(server, "control runs again")
        for future in work:
            future.result(60)
        self.backups.check()
        return death == SERVER

    def _next_death(self) -> str:
        death = self.chance.choice([*DEATHS, SERVER])
        death = SERVER if self._in_a_row == MOST_IN_A_ROW else death
        self._in_a_row = 0 if death == SERVER else self._in_a_row + 1
        self.deaths[death] += 1
        return death

    def _last_revision(self) -> int:
        return max(writer.revision for writer in self.writers)

    def check(self, now: Round) -> None:
        """Compare the server with the acknowledged history, and go on from it."""
        for writer in self.writers:
            writer.open(now)
            writer.check()
        with now.api() as api:
            self.history.check(api)

    def oldest_change(self) -> int:
        """Return the revision of the oldest change that is not pruned."""
        with self.writers[0].round.api() as api:
            page = api.get("/v1/audit", params={"limit": "1"}).raise_for_status().json()
        revision: int = page["items"][0]["revision"]
        return revision

    def acknowledged(self) -> Counter[str]:
        """Return the number of acknowledged changes of each kind."""
        return sum((writer.acknowledged for writer in self.writers), Counter())

    def close(self) -> None:
        self.threads.shutdown()
        for writer in self.writers:
            writer.close()


def test_acknowledged_changes_survive_a_sudden_end(tmp_path: Path) -> None:
    options = ["--state", "kept", "--fleet", "fleet.json", "--no-rate-limit", "--virtual-clock"]
    options += ["--history-mib", "1"]  # Each start of control prunes the history.
    with closing(Campaign(tmp_path, random.Random(20260722))) as campaign:
        rounds = iter(range(ROUNDS))
        for _ in rounds:
            with serving(*options, cwd=tmp_path) as server:
                while not campaign.run_round(server) and next(rounds, None) is not None:
                    pass
        with serving(*options, cwd=tmp_path) as server:
            campaign.check(Round(server))
            oldest = campaign.oldest_change()
    checked = run("state", "check", "--state", "kept", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert campaign.deaths.total() == ROUNDS
    counts = {"deaths": campaign.deaths, "acknowledged": campaign.acknowledged()}
    counts["read"] = Counter(guests=campaign.guests.asked, backups=campaign.backups.made)
    counts["pruned"] = Counter(changes=oldest - 1)
    assert counts["acknowledged"].total() > ROUNDS
    for name, counter in counts.items():
        sys.stdout.write(f"{name}: {dict(counter)}\n")
