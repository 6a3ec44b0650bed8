"""A network of its own with the real server in it, and clients of others that run beside it.

Nothing here leaves the namespace, which has no way out: a client that is not redirected after all
meets 169.254.169.254 only where the server answers at it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.clients.kits import tool
from tests.system.process import clean_environment, run

PRIVATE = ["unshare", "-Urnpf", "--kill-child"]
"""Runs a command with a user, a network and processes of its own; nothing of it outlives it."""

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
JS = HERE / "js"

REAL = "169.254.169.254:80"
REDIRECTED = "127.0.0.1:8169"
_ROOM = 'ip link set lo up; [ -z "$REAL" ] || ip address add 169.254.169.254/32 dev lo; exec "$@"'
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_MOST_S = 60


@cache
def why_not() -> str:
    """Say why there can be no private network here, or nothing."""
    for name in ("unshare", "ip", "sh"):
        if not shutil.which(name, path=_PATH):
            return f"{name} is not installed"
    tried = subprocess.run([*PRIVATE, "true"], capture_output=True, text=True, check=False)
    return f"no private network namespace here: {tried.stderr.strip()}" if tried.returncode else ""


class Told(Struct, frozen=True):
    """What a program printed, and how the counters of the server moved meanwhile."""

    text: str
    moved: dict[str, int]


class Ran(Struct, frozen=True):
    """What a client said of each case, and how the counters of the server moved meanwhile."""

    results: list[dict[str, Any]]
    moved: dict[str, int]


class Stage:
    """A server that is ready in a private network."""

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        at: str,
        ready: dict[str, Any],
        clients: Mapping[str, str],
    ) -> None:
        self.at, self.ready, self._process, self._clients = at, ready, process, clients

    def python(self, program: str, cases: Sequence[Mapping[str, Any]], **more: str) -> Ran:
        """Run a program of `programs/` on these cases."""
        # -P: what lies beside the program is not to be mistaken for what it imports.
        return self.run([sys.executable, "-P", str(PROGRAMS / program)], cases, **more)

    def node(self, program: str, cases: Sequence[Mapping[str, Any]], **more: str) -> Ran:
        """Run a program of `js/` on these cases."""
        return self.run([tool("node"), str(JS / program)], cases, **more)

    def run(self, command: Sequence[str], cases: Sequence[Mapping[str, Any]], **more: str) -> Ran:
        """Run a client that reads cases from stdin and prints a list of results."""
        told = self.run_text(command, cases, **more)
        return Ran(json.loads(told.text), told.moved)

    def run_text(
        self, command: Sequence[str], cases: Sequence[Mapping[str, Any]], **more: str
    ) -> Told:
        """Run a program and take what it prints."""
        got = self._do(
            "run",
            command=list(command),
            cases=list(cases),
            env={**self._clients, **more},
            timeout_s=_MOST_S,
        )
        assert got["code"] == 0, got["err"]
        return Told(got["out"], got["moved"])

    def put(self, name: str, vm: Mapping[str, Any]) -> None:
        """Replace a VM."""
        assert self._do("put", name=name, vm=vm)["status"] in (200, 201)

    def stop(self) -> tuple[int, str]:
        """End the server; return its exit code and what it said on stderr."""
        got = self._do("stop")
        return got["code"], got["err"]

    def _do(self, what: str, **wish: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": what, **wish}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "what is inside has ended"
        answer: dict[str, Any] = json.loads(line)
        assert "failed" not in answer, answer["failed"]
        return answer


@contextmanager
def stage(fleet: Mapping[str, Any], *arguments: str, at: str, cwd: Path) -> Iterator[Stage]:
    """Serve a fleet in a private network: at the real address, or where clients are redirected to.

    There is no other address in that network, so a redirected client that answers was redirected.
    """
    if why_not():
        pytest.skip(why_not())
    (cwd / "fleet.json").write_text(json.dumps(fleet))
    environment = clean_environment({"XDG_STATE_HOME": str(cwd / "state"), "HOME": str(cwd)})
    inside = [sys.executable, str(HERE / "inside.py"), "--fleet", "fleet.json", "--listen", at]
    process = subprocess.Popen(
        [*PRIVATE, "sh", "-ec", _ROOM, "sh", *inside, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**environment, "REAL": "1" if at == REAL else ""},
    )
    try:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        assert ready, (cwd / "server.err").read_text()
        yield Stage(process, at, ready, {**environment, **_pointers(at, cwd)})
    finally:
        process.kill()
        process.communicate(timeout=30)


def _pointers(at: str, cwd: Path) -> dict[str, str]:
    """Return the variables that `openimds env` names; at the real address nobody needs any."""
    if at == REAL:
        return {}
    printed = run("env", "--shell", "json", "--listen", at, cwd=cwd)
    assert printed.returncode == 0, printed.stderr
    said: dict[str, str] = json.loads(printed.stdout)
    return said
