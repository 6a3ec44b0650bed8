"""A private machine: a network namespace as a host, others as its guests.

Its network, mounts and processes are its own, and so is its root, who needs no right outside.
`nsenter` runs each command inside; no process outlives the machine. Before the first command a
check makes sure that this is another network.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.log_lines import sentences
from tests.system.process import COMMAND, clean_environment, next_sentence

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
UNSHARE = ("unshare", "-Urnmpf", "--mount-proc", "--kill-child")
"""Runs a command with users, a network, mounts and processes of its own."""
PRIVATE = ("unshare", "-Urnpf", "--kill-child")
"""Runs a command with users, a network and processes of its own; none of them outlives it."""
_HOLD = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
ip link set lo up
readlink /proc/self/ns/net
exec sleep infinity
"""
_TIMEOUT_S = 60


@cache
def why_unavailable(*tools: str, prefix: tuple[str, ...] = UNSHARE) -> str:
    """Return the reason why a private network with these tools is impossible here, or ""."""
    for tool in ("unshare", "nsenter", "ip", "curl", "sh", *tools):
        if not shutil.which(tool, path=_PATH):
            return f"{tool} is not installed"
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    return f"no private network namespace here: {tried.stderr.strip()}" if tried.returncode else ""


class NetnsServer:
    """A server on the machine that has printed its ready line."""

    def __init__(
        self, on: "Machine", process: "subprocess.Popen[str]", ready: dict[str, Any]
    ) -> None:
        self._on, self._process, self.ready = on, process, ready

    def signal(self, name: str) -> None:
        """Send the server a signal, such as HUP."""
        self._on.run("kill", "-s", name, str(self.ready["pid"]))

    def next_line(self) -> str:
        """Wait for the next line on stderr."""
        assert self._process.stderr
        return next_sentence(self._process.stderr.fileno())

    def counter(self, name: str) -> float:
        """Return the value of one line of the metrics."""
        text = self._on.shell(f"curl -sS {self.ready['admin']}/metrics")
        lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].rpartition(" ")[2]) if lines else 0.0

    def stop(self) -> tuple[int, str]:
        """End it as an init system would; return its exit code and its stderr."""
        self.signal("TERM")
        _, err = self._process.communicate(timeout=_TIMEOUT_S)
        return self._process.returncode, sentences(err)


class Machine:
    """A private network, and the commands that are run in it."""

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
        """Run a command that ends by itself, with this exit code; None allows any."""
        ran = subprocess.run(
            [*self._enter, *command],
            input=text,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=_TIMEOUT_S,
            check=False,
            env={**self._env, **environment},
        )
        assert code in (None, ran.returncode), f"{command}: {ran.stdout}{ran.stderr}"
        ran.stderr = sentences(ran.stderr)
        return ran

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
        """Run lines of a shell; return their output."""
        return self.run("sh", "-ec", script).stdout

    def openimds(self, *words: str, code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        """Run `openimds`."""
        return self.run(*COMMAND, *words, code=code)

    def guest(self, name: str, *command: str, code: int | None = 0) -> str:
        """Run a command in the namespace of a guest; return its output."""
        return self.run("ip", "netns", "exec", name, *command, code=code).stdout

    def request(self, name: str, path: str, *more: str, most_s: int = 5) -> str:
        """Return the response that a guest gets by curl, or "" without one."""
        url = f"http://169.254.169.254{path}"
        words = ("-sS", "-m", str(most_s), "-H", "Metadata:true", *more, url)
        return self.guest(name, "curl", *words, code=None)

    @contextmanager
    def serving(
        self, fleet: object, *arguments: str, before: tuple[str, ...] = ()
    ) -> Iterator[NetnsServer]:
        """Serve a fleet inside the block; `before` is a prefix of the command."""
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
        pid = ""
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.communicate(timeout=_TIMEOUT_S)[1]
            ready = json.loads(line)
            pid = str(ready["pid"])
            yield NetnsServer(self, process, ready)
        finally:
            # A child of nsenter would outlive it.
            if pid:
                self.run("kill", "-s", "KILL", pid, code=None)
            process.kill()
            process.communicate(timeout=_TIMEOUT_S)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextmanager
def machine(folder: Path, *tools: str) -> Iterator[Machine]:
    """Make a private machine, or skip the test where that is impossible."""
    if why_unavailable(*tools):
        pytest.skip(why_unavailable(*tools))
    holder = subprocess.Popen(
        [*UNSHARE, "sh", "-ec", _HOLD],
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment({}),
    )
    try:
        assert holder.stdout
        inside = holder.stdout.readline().strip()
        assert inside.startswith("net:["), "the namespace was not made"
        assert inside != os.readlink("/proc/self/ns/net")  # noqa: PTH115 - it is no path
        host = Machine(_child(holder.pid), folder)
        assert host.shell("readlink /proc/self/ns/net").strip() == inside
        yield host
    finally:
        holder.kill()
        holder.communicate()
