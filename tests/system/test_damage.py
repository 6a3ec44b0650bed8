"""Bad disks and cut files: no wrong answer for a guest, and no traceback.

`OPENIMDS_CUT_ROUNDS=500` and `OPENIMDS_DISK_ROUNDS=200` run the long form.
"""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.waiting import until
from tests.system.machine import Machine, NetnsServer, machine
from tests.system.process import COMMAND, clean_environment, run, serving

pytestmark = pytest.mark.system

CUT_ROUNDS = int(os.environ.get("OPENIMDS_CUT_ROUNDS", "20"))
DISK_ROUNDS = int(os.environ.get("OPENIMDS_DISK_ROUNDS", "25"))
SEED = 20261130
VMS = 40
ASKED = 5
ALONE = ("--public", "none", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
SIZE = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
_TIMEOUT_S = 60


def address(number: int) -> str:
    return f"127.0.0.{number + 2}"


def body(number: int, size: str) -> dict[str, Any]:
    # The tag makes each VM some pages of the store.
    tags = {"filler": "x" * 2000}
    return {
        "compute": {"vmSize": size, "tags": tags},
        "reach": {"address": [address(number)]},
    }


def size_at(url: str, source: str) -> tuple[int, str]:
    """Return the status and the VM size that a guest at an address gets."""
    parts = urlsplit(url)
    assert parts.hostname
    guest = HTTPConnection(parts.hostname, parts.port, 20, source_address=(source, 0))
    guest.request("GET", SIZE, headers={"Metadata": "true"})
    answer = guest.getresponse()
    text = answer.read().decode()
    guest.close()
    return answer.status, text


def show(what: str, counts: Counter[str]) -> None:
    lines = [f"  {name}: {count}" for name, count in sorted(counts.items())]
    print(f"\n{what}:", *lines, sep="\n")  # noqa: T201 - the result of a campaign


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose server was killed: its store has a write-ahead log."""
    folder = tmp_path_factory.mktemp("killed")
    # The first half of the VMs is in the file of the store, the other in its log alone.
    for half in (range(VMS // 2), range(VMS // 2, VMS)):
        with serving("--state", "state", "--public", "none", cwd=folder) as server:
            api = httpx2.Client(base_url=server.ready["admin"], headers=server.authorization)
            with api:
                for number in half:
                    put = api.put(f"/v1/vms/vm-{number}", json=body(number, f"size-{number}"))
                    put.raise_for_status()
            if half.start == 0:
                assert server.stop()[0] == 0
            else:
                server.process.kill()
                server.process.wait(_TIMEOUT_S)
    await_lock(folder / "state" / "lock")
    assert (folder / "state" / "fleet.db-wal").stat().st_size > 0
    return folder


def await_lock(path: Path) -> None:
    """Wait until every process of a killed server has ended: each holds the lock."""
    with path.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def outcome(folder: Path, chance: random.Random) -> str:
    """Start a server on a folder; return how it ended, after questions of guests."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--state", "state", *ALONE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=clean_environment({"XDG_STATE_HOME": str(folder / "home")}),
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        if line:
            url = json.loads(line)["imds"]
            for number in chance.sample(range(VMS), ASKED):
                assert size_at(url, address(number)) == (200, f"size-{number}")
            assert size_at(url, "127.0.0.200")[0] == 404
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=_TIMEOUT_S)
    finally:
        process.kill()
        process.communicate()
    assert "Traceback" not in err, err
    assert "internal error" not in err, err
    if line:
        assert process.returncode == 0, err
        return "served as before"
    assert process.returncode == 1, err
    assert "openimds state restore FILE" in err, err
    assert "openimds serve --state-recover" in err, err
    return next(word for word in ("empty", "damaged", "older") if f" is {word}" in err)


def test_cut_store_is_served_as_it_was_or_refused(killed: Path, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    counts: Counter[str] = Counter()
    for number in range(CUT_ROUNDS):
        folder = tmp_path / f"round-{number}"
        shutil.copytree(killed, folder)
        name = chance.choice(["fleet.db", "fleet.db", "fleet.db-wal"])
        path = folder / "state" / name
        os.truncate(path, chance.randrange(path.stat().st_size))
        if name == "fleet.db" and chance.random() < 0.5:
            # As a copy without its log.
            (folder / "state" / "fleet.db-wal").unlink()
        counts[f"{name}: {outcome(folder, chance)}"] += 1
        shutil.rmtree(folder)
    show(f"{CUT_ROUNDS} cut stores", counts)
    assert sum(counts.values()) == CUT_ROUNDS
    assert any("served" not in name for name in counts)


def test_whole_store_of_a_killed_server_is_served(killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path / "copy")
    assert outcome(tmp_path / "copy", random.Random(SEED)) == "served as before"


class Disk:
    """A server whose state folder lies on a small disk of a private machine."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.sizes: dict[int, str] = {}
        """The acknowledged sizes of VMs, by number."""
        self.counts: Counter[str] = Counter()
        self.is_full = False
        host.shell("mkdir disk; mount -t tmpfs -o size=2m,mode=700 tmpfs disk")

    def fill(self) -> None:
        """Leave no byte of the disk free."""
        self.host.shell("dd if=/dev/zero of=disk/filler bs=1k 2>/dev/null || true")
        self.is_full = True

    def settle(self) -> None:
        """Wait until every process of a killed server has ended."""
        self.host.shell("flock disk/state/lock true")

    def free(self) -> None:
        self.host.shell("rm -f disk/filler")
        self.is_full = False

    def request(
        self, server: NetnsServer, method: str, path: str, value: object = None
    ) -> tuple[int, Any]:
        """Send a request to the admin API; return status and JSON."""
        token = "$(cat disk/state/admin-token)"
        script = (
            f'curl -sS -m 20 -X {method} -H "Authorization: Bearer {token}" '
            f"-H 'Content-Type: application/json' --data-binary @- -w '\\n%{{http_code}}' "
            f"{server.ready['admin']}{path}"
        )
        ran = self.host.run("sh", "-ec", script, text=json.dumps(value) if value else "")
        text, _, status = ran.stdout.rpartition("\n")
        return int(status), json.loads(text)

    def put(self, server: NetnsServer, number: int, size: str) -> None:
        """Put a VM; a refusal is a 503 with the reason, and changes nothing."""
        status, answer = self.request(server, "PUT", f"/v1/vms/vm-{number}", body(number, size))
        if status < 300:
            self.sizes[number] = size
            self.counts["changes acknowledged"] += 1
            return
        assert status == 503, answer
        assert answer["status"] == 503
        assert "disk" in answer["detail"], answer
        assert self.request(server, "GET", "/readyz")[1]["status"] == "degraded"
        self.counts["changes refused"] += 1

    def check(self, server: NetnsServer, chance: random.Random) -> None:
        """Check that guests get what was acknowledged last, and others nothing."""
        asked = chance.sample(sorted(self.sizes), min(3, len(self.sizes)))
        for number in asked:
            assert self.guest(server, number) == (200, self.sizes[number])
        assert self.guest(server, 190)[0] == 404
        self.counts["guests answered"] += len(asked)

    def guest(self, server: NetnsServer, number: int) -> tuple[int, str]:
        url = f"{server.ready['imds']}{SIZE}"
        words = ("-sS", "-m", "20", "--interface", address(number), "-H", "Metadata:true")
        ran = self.host.run("curl", *words, "-w", "\n%{http_code}", url)
        text, _, status = ran.stdout.rpartition("\n")
        return int(status), text


FLEET = {"vms": {"of-file": {"reach": {"address": ["127.0.0.240"]}}}}
ARGUMENTS = ("--state", "disk/state", "--no-rate-limit", *ALONE)


def test_first_start_on_a_full_disk_makes_its_store_later(tmp_path: Path) -> None:
    with machine(tmp_path, "flock", "mount") as host:
        disk = Disk(host)
        disk.fill()
        with host.serving(FLEET, *ARGUMENTS) as server:
            assert disk.guest(server, 238)[0] == 200
            assert disk.guest(server, 190)[0] == 404
            _, answer = disk.request(server, "GET", "/readyz")
            assert (answer["status"], "disk" in answer["detail"]) == ("degraded", True), answer
            assert disk.request(server, "PUT", "/v1/vms/vm-1", body(1, "size-1"))[0] in {401, 503}
            # A new control has no store either, and reads the file again.
            host.shell(f"kill -9 $(pgrep -P {server.ready['pid']})")
            while "control runs again" not in server.next_line():
                assert disk.guest(server, 238)[0] == 200
            assert disk.guest(server, 238)[0] == 200
            disk.free()
            # The token and the store are tried again every ten seconds.
            host.shell("until [ -s disk/state/admin-token ]; do sleep 0.1; done")
            until(lambda: disk.request(server, "GET", "/readyz")[1] == {"status": "ready"})
            disk.put(server, 1, "size-1")
            assert disk.guest(server, 1) == (200, "size-1")
            server.stop()
        disk.settle()
        with host.serving(FLEET, *ARGUMENTS) as server:
            assert disk.guest(server, 1) == (200, "size-1")
            assert disk.guest(server, 238)[0] == 200


def test_disk_that_fills_and_is_freed_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with machine(tmp_path, "flock", "mount") as host:
        disk = Disk(host)
        rounds = 0
        while rounds < DISK_ROUNDS:
            # Now and then it starts on a disk that is read-only as a whole.
            is_read_only = bool(disk.sizes) and chance.random() < 0.2
            if is_read_only:
                host.shell("mount -o remount,ro disk")
            with host.serving(FLEET, *ARGUMENTS) as server:
                disk.counts["starts"] += 1
                disk.counts["starts on a full disk"] += disk.is_full
                disk.counts["starts on a read-only disk"] += is_read_only
                for _ in range(chance.randrange(2, 5)):
                    rounds += 1
                    if not is_read_only and chance.random() < 0.4:
                        disk.free() if disk.is_full else disk.fill()
                    disk.put(server, chance.randrange(30), f"size-{rounds}")
                    disk.check(server, chance)
                if is_read_only:
                    assert disk.request(server, "GET", "/readyz")[1]["status"] == "degraded"
                if chance.random() < 0.5:
                    code, err = server.stop()
                    assert code == 0, err
                    assert "Traceback" not in err, err
                    assert "internal error" not in err, err
            disk.settle()
            if is_read_only:
                host.shell("mount -o remount,rw disk")
        disk.free()
        with host.serving(FLEET, *ARGUMENTS) as server:
            for number, size in disk.sizes.items():
                assert disk.guest(server, number) == (200, size)
            disk.put(server, 0, "last")
            assert disk.request(server, "GET", "/readyz")[1] == {"status": "ready"}
        show(f"{rounds} steps", disk.counts)
        assert disk.counts["changes refused"]
        assert disk.counts["changes acknowledged"]


def test_fleet_file_that_becomes_a_pipe_lets_sigterm_end_it(tmp_path: Path) -> None:
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps(FLEET))
    with serving("--fleet", "fleet.json", "--public", "none", cwd=tmp_path) as server:
        file.unlink()
        os.mkfifo(file)
        message = server.next_line()
        assert message.startswith(
            "openimds: fleet file not applied: fleet.json: saw a pipe, a device or a folder"
        )
        assert server.stop() == (0, "")


def test_pipe_as_fleet_file_is_refused_at_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fleet.json")
    ran = run("serve", "--fleet", "fleet.json", cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr == (
        "openimds: fleet.json: saw a pipe, a device or a folder, expected a file that can be read\n"
    )
