"""The process is killed while it writes: acknowledged changes survive, none is torn.

`OPENIMDS_CRASH_ROUNDS=200` runs the long form.
"""

import os
import random
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.process import Server, serving

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("OPENIMDS_CRASH_ROUNDS", "8"))
WRITERS = 4
NAMES_EACH = 3
MOST_WRITES = 120


class Writer:
    """One connection, its acknowledged changes, and the change under way at the end."""

    def __init__(self, server: Server, number: int, seed: int) -> None:
        self.api = httpx2.Client(base_url=server.ready["admin"], headers=server.authorization)
        self.names = [f"writer-{number}-{index}" for index in range(NAMES_EACH)]
        self.random = random.Random(seed)
        self.known: dict[str, str | None] = {}
        self.pending: tuple[str, str | None] | None = None
        self.acknowledged = 0

    def write_until_the_end(self, stamp: str, on_written: "threading.Semaphore") -> None:
        try:
            for number in range(1_000_000):
                name = self.random.choice(self.names)
                is_removal = bool(self.known.get(name)) and self.random.random() < 0.3
                size = None if is_removal else f"{stamp}-{number}"
                self.pending = (name, size)
                if size is None:
                    self.api.delete(f"/v1/vms/{name}").raise_for_status()
                else:
                    body = {"compute": {"vmSize": size}, "reach": {"address": []}}
                    self.api.put(f"/v1/vms/{name}", json=body).raise_for_status()
                self.known[name], self.pending = size, None
                self.acknowledged += 1
                on_written.release()
        except httpx2.TransportError:
            pass  # The end.
        finally:
            self.api.close()
            on_written.release(MOST_WRITES)

    def may_be(self, name: str) -> set[str | None]:
        """Return the allowed sizes after the end: the acknowledged one, or the one under way."""
        sizes = {self.known.get(name)}
        return sizes | {self.pending[1]} if self.pending and self.pending[0] == name else sizes


def pages(api: httpx2.Client, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, params={"limit": "1000", **cursor}).raise_for_status().json()
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = {"cursor": page["next"]}


def size_of(vm: dict[str, Any] | None) -> str | None:
    return str(vm["compute"]["vmSize"]) if vm else None


def replayed(audit: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Replay the audit and return its VMs; every entry must follow from those before."""
    vms: dict[str, dict[str, Any]] = {}
    last = 0
    for entry in audit:
        assert entry["revision"] > last
        last = entry["revision"]
        before = vms.pop(entry["name"], None)
        assert entry["before"] == (before and before["fields"])
        assert entry["kind"] == ("remove" if entry["after"] is None else "put")
        if entry["after"] is not None:
            vms[entry["name"]] = {"fields": entry["after"], "revision": last}
    return vms


def test_acknowledged_changes_survive_a_sudden_end(tmp_path: Path) -> None:
    chance = random.Random(20260722)
    survivors: dict[str, set[str | None]] = {}
    acknowledged = 0
    for number in range(ROUNDS + 1):
        with serving("--state", "kept", "--no-rate-limit", cwd=tmp_path) as server:
            writers = [Writer(server, index, chance.getrandbits(32)) for index in range(WRITERS)]
            api = writers[0].api
            vms = {vm["name"]: vm for vm in pages(api, "/v1/vms") if vm["name"] != "vm-1"}
            audit = pages(api, "/v1/audit")
            for name, sizes in survivors.items():
                assert size_of(vms.get(name)) in sizes, (number, name)
            history = replayed(audit)
            history.pop("vm-1", None)
            assert {
                name: {key: value for key, value in vm.items() if key not in ("name", "origin")}
                for name, vm in vms.items()
            } == {
                name: {**vm["fields"], "revision": vm["revision"]} for name, vm in history.items()
            }
            assert len(audit) >= acknowledged
            if number == ROUNDS:
                for writer in writers:
                    writer.api.close()
                break
            for writer in writers:
                writer.known = {name: size_of(vms.get(name)) for name in writer.names}
            written = threading.Semaphore(0)
            threads = [
                threading.Thread(
                    target=writer.write_until_the_end, args=(f"{number}-{index}", written)
                )
                for index, writer in enumerate(writers)
            ]
            for thread in threads:
                thread.start()
            # The kill comes after a number of responses, somewhere between two of them.
            for _ in range(chance.randrange(1, MOST_WRITES)):
                written.acquire()
            for _ in range(chance.randrange(4000)):
                os.sched_yield()
            server.process.kill()
            for thread in threads:
                thread.join()
            survivors = {name: writer.may_be(name) for writer in writers for name in writer.names}
            acknowledged += sum(writer.acknowledged for writer in writers)
            assert acknowledged
            assert all(writer.pending for writer in writers)
