"""A simulated machine: a network namespace as a host, others as its guests.

Its network, mounts and processes are its own, and so is its root, which needs no right outside.
Each command is run inside by `nsenter`; no process outlives the machine. The first command is run
after a check that the network really is another one.
"""

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.system.process import COMMAND, clean_environment

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
UNSHARE = ["unshare", "-Urnmpf", "--mount-proc", "--kill-child"]
"""Runs a command in new namespaces of users, network, mounts and processes."""
_HOLD = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
ip link set lo up
readlink /proc/self/ns/net
exec sleep infinity
"""
_MOST_S = 60


@cache
def why_not(*tools: str) -> str:
    """Return the reason why no machine can be simulated here, or an empty string."""
    for tool in ("unshare", "nsenter", "ip", "curl", "sh", *tools):
        if not shutil.which(tool, path=_PATH):
            return f"{tool} is not installed"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"no private network namespace here: {tried.stderr.strip()}" if tried.returncode else ""


class Running:
    """A ready server inside the machine."""

    def __init__(
        self, on: "Machine", process: "subprocess.Popen[str]", ready: dict[str, Any]
    ) -> None:
        self._on, self._process, self.ready = on, process, ready

    def signal(self, name: str) -> None:
        """Send the server a signal, such as HUP."""
        self._on.run("kill", "-s", name, str(self.ready["pid"]))

    def sentence(self) -> str:
        """Return the next line of stderr, read byte by byte, without a buffer."""
        assert self._process.stderr
        descriptor, line = self._process.stderr.fileno(), b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], _MOST_S)
            assert ready, f"no line after {line!r}"
            line += os.read(descriptor, 1)
        return line.decode()

    def counter(self, name: str) -> float:
        """Return the value of one line of the metrics."""
        text = self._on.shell(f"curl -sS {self.ready['admin']}/metrics")
        lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def stop(self) -> tuple[int, str]:
        """End the server as an init system does; return its exit code and stderr."""
        self.signal("TERM")
        _, stderr = self._process.communicate(timeout=_MOST_S)
        return self._process.returncode, stderr


class Machine:
    """A private network namespace, and commands in it."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid, self.folder = pid, folder
        into = ["nsenter", "--preserve-credentials", "-U", "-n", "-m", "-p", "-t", str(pid)]
        self._enter = [*into, "--", "env", "-C", str(folder)]
        self._env = clean_environment(
            {"XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder)}
        )

    def run(
        self, *command: str, text: str = "", code: int | None = 0, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, and check its exit code unless that is None."""
        completed = subprocess.run(
            [*self._enter, *command],
            input=text,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=_MOST_S,
            check=False,
            env={**self._env, **environment},
        )
        assert code in (None, completed.returncode), (
            f"{command}: {completed.stdout}{completed.stderr}"
        )
        return completed

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command that ends when its stdin does."""
        return subprocess.Popen(
            [*self._enter, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._env,
        )

    def shell(self, script: str) -> str:
        """Run a shell script; return its stdout."""
        return self.run("sh", "-ec", script).stdout

    def openimds(self, *words: str, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        """Run openimds."""
        return self.run(*COMMAND, *words, code=code)

    def guest(self, name: str, *command: str, code: int | None = 0) -> str:
        """Run a command in the namespace of a guest; return its stdout."""
        return self.run("ip", "netns", "exec", name, *command, code=code).stdout

    def asks(self, name: str, path: str, *more: str, most_s: int = 5) -> str:
        """Return the response to a guest's curl, or an empty string."""
        url = f"http://169.254.169.254{path}"
        words = ("-sS", "-m", str(most_s), "-H", "Metadata:true", *more, url)
        return self.guest(name, "curl", *words, code=None)

    @contextmanager
    def serving(
        self, fleet: object, *arguments: str, before: tuple[str, ...] = ()
    ) -> Iterator[Running]:
        """Serve a fleet until the end of the block, by a command with a prefix."""
        (self.folder / "fleet.json").write_text(json.dumps(fleet))
        words = [*before, *COMMAND, "serve", "--fleet", "fleet.json", *arguments]
        process = subprocess.Popen(
            [*self._enter, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.folder,
            env=self._env,
        )
        pid = "0"
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.communicate(timeout=_MOST_S)[1]
            ready = json.loads(line)
            pid = str(ready["pid"])
            yield Running(self, process, ready)
        finally:
            # The child of nsenter would outlive it.
            self.run("kill", "-s", "KILL", pid, code=None)
            process.kill()
            process.communicate(timeout=_MOST_S)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextmanager
def machine(folder: Path, *tools: str) -> Iterator[Machine]:
    """Provide a simulated machine, or skip the test."""
    if why_not(*tools):
        pytest.skip(why_not(*tools))
    holder = subprocess.Popen(
        [*UNSHARE, "sh", "-ec", _HOLD],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment({}),
    )
    try:
        assert holder.stdout
        inside = holder.stdout.readline().strip()
        assert inside.startswith("net:["), "the machine was not made"
        assert inside != os.readlink("/proc/self/ns/net")  # noqa: PTH115 - it is no path
        simulated = Machine(_child(holder.pid), folder)
        assert simulated.shell("readlink /proc/self/ns/net").strip() == inside
        yield simulated
    finally:
        holder.kill()
        holder.communicate()
