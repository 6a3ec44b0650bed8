"""A day of an operator, from the units to a restored backup.

systemd does not run where the tests do: its checks read the unit, whose command and variables are
run as it says, with the folders of this test.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.generate_docs import ROOT
from tests.support.waiting import until
from tests.system.process import Server, clean_environment, next_line
from tests.system.prometheus import PROMETHEUS, Prometheus, shipped, watching

UNITS = ROOT / "packaging" / "systemd"
SERVICE = UNITS / "openimds.service"
SELECTED, COUNT = 40, 200
SELECTOR = "tag=env:prod,location=westeurope"
REFUSED = "OpenIMDSFleetFileRefused"
FIRST = "vms: {gateway: {reach: {address: [10.9.0.1]}}}\n"
BAD = "vms: {gateway: {reach: {adress: [10.9.0.1]}}}\n"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
ASK = {"Metadata": "true"}
WITHIN_S = 60.0

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not installed: scripts/host-tools"),
]


class Day:
    """A machine with the unit installed, and an operator who types commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.configuration = folder, folder / "etc"
        self.state = folder / "state"
        self.configuration.mkdir()
        self.fleet = self.configuration / "fleet.yaml"
        self.fleet.write_text(FIRST)
        unit = SERVICE.read_text()
        (command,) = re.findall(r"^ExecStart=openimds (.*)$", unit, re.MULTILINE)
        self.command = self._here(command).split()
        pairs = re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE)
        self.variables = {name: self._here(value) for name, value in pairs}
        self.found: dict[str, str] = {}

    def _here(self, text: str) -> str:
        moved = text.replace("/etc/openimds", str(self.configuration))
        return moved.replace("/var/lib/openimds", str(self.state))

    @contextmanager
    def served(self) -> Iterator[Server]:
        """Start the command of the unit, at free ports."""
        ports = {"OPENIMDS_LISTEN": "127.0.0.1:0", "OPENIMDS_ADMIN": "127.0.0.1:0"}
        process = subprocess.Popen(
            [sys.executable, "-m", "openimds", *self.command],
            cwd=self.configuration,
            env=clean_environment({**self.variables, **ports}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.communicate(timeout=60)[1]
            server = Server(process, json.loads(line))
            self.found = server.variables
            yield server
        finally:
            process.kill()
            process.communicate(timeout=60)

    def types(self, *words: str, text: str = "", **environment: str) -> str:
        """Type a command that must succeed, and return its output."""
        ran = self.run(*words, text=text, **environment)
        assert ran.returncode == 0, (words, ran.stderr)
        return ran.stdout

    def run(
        self, *words: str, text: str = "", **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Type a command."""
        return subprocess.run(
            [sys.executable, "-m", "openimds", *words],
            cwd=self.folder,
            env=clean_environment({**self.found, **environment}),
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def keep(self, name: str, printed: str) -> dict[str, str]:
        """Write the token that a command printed last to a file; return its variable."""
        path = self.folder / f"{name}.token"
        path.touch(mode=0o600)
        path.write_text(f"{printed.splitlines()[-1]}\n")
        return {"OPENIMDS_TOKEN_FILE": str(path)}


@contextmanager
def following(day: Day, *words: str, **environment: str) -> Iterator[Any]:
    """Start a command that does not end, and return a function for its next line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "openimds", *words],
        cwd=day.folder,
        env=clean_environment({**day.found, **environment}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout
        descriptor = process.stdout.fileno()
        yield lambda: next_line(descriptor)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def fleet_of(count: int) -> dict[str, Any]:
    """Return VMs of which each fifth is selected."""
    return {
        "vms": {
            f"web-{number:03}": {
                "compute": {
                    "location": "westeurope",
                    "tags": {"env": "test" if number % 5 else "prod"},
                },
                "reach": {"address": [f"10.8.{number // 100}.{number % 100 + 1}"]},
                "identities": {"system": True},
            }
            for number in range(count)
        }
    }


def scraped_by(day: Day, server: Server, token: str) -> dict[str, Any]:
    """Return the shipped scrape configuration for a server, with a token file."""
    config = shipped()
    (_, job) = config["scrape_configs"]
    job["scheme"] = "http"
    del job["tls_config"]
    job["authorization"]["credentials_file"] = token
    target = server.ready["admin"].removeprefix("http://")
    job["static_configs"] = [{"targets": [target]}]
    config["scrape_configs"] = [job]
    return config


def test_unit_is_accepted_by_systemd(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("=openimds ", f"={Path(sys.executable).parent}/openimds ")
        (tmp_path / unit.name).write_text(text)
    words = [analyze, "verify", "--man=no", str(tmp_path / SERVICE.name)]
    environment = clean_environment({"SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    checked = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_day_of_an_operator_goes_to_plan(tmp_path: Path) -> None:
    day = Day(tmp_path)
    backup = tmp_path / "backup.db"
    with day.served() as server:
        assert day.types("vm", "list", "--output", "name") == "gateway\n"

        # Tokens for a colleague and for the collector, each with what it needs.
        ops = day.keep(
            "ops", day.types("token", "add", "ops", "--role", "operate", "--expires", "30d")
        )
        read = day.keep("read", day.types("token", "add", "prometheus", "--role", "read"))
        assert {
            row["name"]: row["role"] for row in json.loads(day.types("token", "list", "--json"))
        } == {
            "ops": "operate",
            "prometheus": "read",
        }
        refused = day.run("vm", "remove", "gateway", "--yes", **read)
        assert refused.returncode == 1
        assert "operate" in refused.stderr or "admin" in refused.stderr

        # 200 VMs, of which a selector finds 40.
        day.types("vm", "put", "-", text=json.dumps(fleet_of(COUNT)))
        assert len(json.loads(day.types("vm", "list", "--json", **ops))) == COUNT + 1
        names = day.types("vm", "list", "--select", SELECTOR, "--output", "name", **ops).split()
        assert len(names) == SELECTED

        # An event for them, watched by the colleague.
        with following(day, "event", "list", "--watch", "--output", "name", **ops) as line:
            schedule = ("event", "schedule", "Reboot", "--select", SELECTOR, "--in", "10m")
            ids = day.types(*schedule, "--yes", **ops).split()
            assert len(ids) == SELECTED
            waited = {*ids}
            while waited:  # Each line in its time, or the wait for one fails.
                waited.discard(line().strip())

        # The collector sees it, and an alert says that an edit is refused.
        config = scraped_by(day, server, read["OPENIMDS_TOKEN_FILE"])
        with watching(tmp_path, config) as prometheus:
            until(lambda: is_value(prometheus, "openimds_vms", COUNT + 1), WITHIN_S)
            assert is_value(prometheus, "openimds_events_scheduled", SELECTED)
            day.fleet.write_text(BAD)
            until(lambda: REFUSED in prometheus.firing(), WITHIN_S)
            day.fleet.write_text(FIRST)
            until(lambda: REFUSED not in prometheus.firing(), WITHIN_S)

        # The colleague's token is replaced: the secret of before is refused.
        rotated = day.types("token", "rotate", "ops")
        late = day.run("vm", "list", **ops)
        assert late.returncode == 1
        assert "token" in late.stderr
        day.keep("ops", rotated)

        # Who did what is written down, by the names of the tokens.
        log = json.loads(day.types("event", "log", "--json"))
        assert {row["who"] for row in log} == {"api 127.0.0.1 token:ops"}
        audit = json.loads(day.types("audit", "--json", "--last", str(COUNT)))
        assert {row["who"] for row in audit} == {"api 127.0.0.1 token:local"}

        day.types("state", "backup", str(backup), "--state", str(day.state))
        day.types("vm", "remove", "--select", "tag=env:test", "--yes")
        assert len(json.loads(day.types("vm", "list", "--json"))) == SELECTED + 1
        assert server.stop()[0] == 0

    # The mistake is taken back: all VMs, events and tokens are as they were.
    day.types("state", "restore", str(backup), "--state", str(day.state))
    with day.served() as server:
        assert len(json.loads(day.types("vm", "list", "--json", **ops))) == COUNT + 1
        assert len(json.loads(day.types("event", "list", "--json", **read))) == SELECTED
        assert server.stop()[0] == 0


def is_value(prometheus: Prometheus, query: str, value: int) -> bool:
    """Tell whether a query has this one value."""
    return [one["value"][1] for one in prometheus.query(query)] == [str(value)]
