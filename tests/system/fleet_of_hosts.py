"""Real processes of a fleet of hosts: an engine, two controls, and hosts on loopback."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from openimds.credentials.keys.mirror import make_key_file
from tests.support.postgres import PostgresCluster
from tests.support.waiting import until
from tests.system.process import COMMAND, clean_environment, free_port

NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
COMPUTE = "/metadata/instance/compute?api-version=2021-02-01"
WAIT_S = 30.0


class FleetProcess:
    """A process of the fleet, which can be killed and started again."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.name, self.state, self.arguments = name, folder / name, arguments
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `wait` waits until it is ready."""
        with self.out.open("wb") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *self.arguments, "--state", str(self.state)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.out.parent,
                env=clean_environment({}),
            )

    def wait(self) -> dict[str, Any]:
        """Wait for the ready line, and return it."""
        until(self._is_ready, WAIT_S)
        ready: dict[str, Any] = json.loads(self.out.read_text())
        return ready

    def _is_ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.err.read_text()
        return self.out.read_text().endswith("\n")

    def kill(self) -> None:
        """End it at once."""
        if self.process:
            self.process.kill()
            self.process.wait(WAIT_S)

    def __str__(self) -> str:
        """Return what a failure has to show: how it ended, and its last notices."""
        ended = self.process.poll() if self.process else None
        return f"{self.name}: ended with {ended}; {self.err.read_text()[-2000:]}"

    def keep(self) -> None:
        """Start it again if it has ended, as its supervisor would."""
        if self.process is None or self.process.poll() is not None:
            self.start()


class ControlProcess(FleetProcess):
    """A control of many hosts."""

    def __init__(self, folder: Path, name: str, store: str, key: Path, *more: str) -> None:
        self.hosts = f"127.0.0.1:{free_port()}"
        self.admin = f"127.0.0.1:{free_port()}"
        options = ["--store", store, "--key-file", str(key), "--hosts", self.hosts]
        options += ["--admin", self.admin, "--public", "none", "--no-rate-limit"]
        super().__init__(folder, name, "control", "run", *options, *more)

    def ask(self, method: str, path: str, body: object = None) -> httpx2.Response | None:
        """Return the answer of the admin API, or None while there is none."""
        try:
            token = (self.state / "admin-token").read_text().strip()
            return httpx2.request(
                method,
                f"http://{self.admin}{path}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=10,
            )
        except (OSError, httpx2.TransportError):
            return None


class HostProcess(FleetProcess):
    """A host of a fleet of hosts, with a listener on loopback."""

    def __init__(self, folder: Path, name: str, controls: list[ControlProcess], *join: str) -> None:
        """Take the options of a join; without any, those of a join token."""
        self.port, self.token = free_port(), folder / f"{name}.join"
        options = [part for one in controls for part in ("--control", one.hosts)]
        options += ["--name", name, *(join or ("--join-token-file", str(self.token)))]
        options += ["--no-rate-limit", "--listen", f"127.0.0.1:{self.port}"]
        super().__init__(folder, name, "host", "run", *options)

    def guest(self, address: str) -> httpx2.Client:
        """Return a client at a source address."""
        return httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Metadata": "true"},
            transport=httpx2.HTTPTransport(local_address=address),
            timeout=WAIT_S,
        )

    def name_at(self, address: str) -> str:
        """Return the name of the VM at an address, or the status of a refusal."""
        with self.guest(address) as guest:
            answer = guest.get(NAME)
        return answer.text if answer.status_code == 200 else str(answer.status_code)


class FleetOfHosts:
    """An engine, two controls and three hosts."""

    def __init__(self, folder: Path, *of_control: str) -> None:
        """Make two controls, with further options."""
        self.folder, self.engine = folder, PostgresCluster()
        store = f"postgresql://openimds@/postgres?host={quote(str(self.engine.folder), safe='/')}"
        key = folder / "fleet.key"
        make_key_file(key)
        self.controls = [
            ControlProcess(folder, f"control-{n}", store, key, *of_control) for n in (1, 2)
        ]
        self.hosts: dict[str, HostProcess] = {}
        self._addresses = iter(range(2, 250))

    def start(self) -> None:
        """Start everything, and join three hosts."""
        for control in self.controls:
            control.start()
        for control in self.controls:
            control.wait()
        for number in (1, 2, 3):
            self.add_host(f"host-{number}")
        self.settle()

    def add_host(self, name: str) -> HostProcess:
        """Invite a host, and start it."""
        host = self.hosts[name] = HostProcess(self.folder, name, self.controls)
        token = self.change("POST", "/v1/hosts", {"name": name})["token"]
        host.token.write_text(token)
        host.start()
        host.wait()
        return host

    def stop(self) -> None:
        """End every process."""
        for process in (*self.hosts.values(), *self.controls):
            process.kill()
        self.engine.stop()
        shutil.rmtree(self.engine.folder)

    def leader(self) -> ControlProcess:
        """Wait for a control that leads, and return it."""
        found: list[ControlProcess] = []

        def is_found() -> bool:
            for control in self.controls:
                answer = control.ask("GET", "/readyz")
                if answer is not None and answer.status_code == 200:
                    found.append(control)
                    return True
            return False

        try:
            until(is_found, WAIT_S)
        except AssertionError as error:
            raise AssertionError("\n".join(map(str, self.controls))) from error
        return found[0]

    def change(self, method: str, path: str, body: object = None) -> Any:
        """Send a change to the control that leads; return the decoded answer."""
        answer = self.leader().ask(method, path, body)
        assert answer is not None
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def address(self) -> str:
        """Return an address of a guest that no other test has."""
        return f"127.0.1.{next(self._addresses)}"

    def put(self, name: str, host: str, address: str, number: int = 0, **more: Any) -> None:
        """Place a VM on a host, with a number in its size."""
        body = {"host": host, "reach": {"address": [address]}, **more}
        self.change("PUT", f"/v1/vms/{name}", {"compute": {"vmSize": f"n{number}"}, **body})

    def standings(self) -> dict[str, dict[str, Any]]:
        """Return the standing of each host; none while no control leads."""
        for control in self.controls:
            answer = control.ask("GET", "/v1/hosts")
            if answer is not None and answer.status_code == 200:
                return {host["name"]: host for host in answer.json()["items"]}
        return {}

    def is_settled(self, *names: str) -> bool:
        """Tell whether hosts show all that was changed."""
        found = self.standings()
        return all(
            name in found and found[name]["isConnected"] and found[name]["isSettled"]
            for name in names or ("host-1", "host-2", "host-3")
        )

    def settle(self) -> None:
        """Wait until the three hosts show all that was changed."""
        until(self.is_settled, WAIT_S)

    def shows(self, vm: str) -> bool:
        """Tell whether the hosts of a VM show its newest state."""
        answer = self.leader().ask("GET", f"/v1/vms/{vm}/placement")
        return answer is not None and answer.status_code == 200 and not answer.json()["lacking"]


def seconds_until(is_met: Callable[[], bool]) -> float:
    """Wait for a condition; return the seconds that it took."""
    began = time.monotonic()
    until(is_met, WAIT_S)
    return time.monotonic() - began
