"""The real server in a private network, and clients that run beside it.

No packet leaves the namespace, which has no route: a client that is not redirected meets
169.254.169.254 only where the server listens at it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.clients.kits import tool
from tests.support.log_lines import sentences
from tests.system.machine import PRIVATE, why_unavailable
from tests.system.process import clean_environment, run

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
JS = HERE / "js"

REAL = "169.254.169.254:80"
REDIRECTED = "127.0.0.1:8169"
_SETUP = 'ip link set lo up; [ -z "$REAL" ] || ip address add 169.254.169.254/32 dev lo; exec "$@"'
_TIMEOUT_S = 60


class TextRun(Struct, frozen=True):
    """The output of a program, and the changes of the server's counters meanwhile."""

    text: str
    moved: dict[str, int]


class CasesRun(Struct, frozen=True):
    """A client's result of each case, and the changes of the server's counters meanwhile."""

    results: list[dict[str, Any]]
    moved: dict[str, int]


class PrivateServer:
    """A ready server in a private network."""

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        at: str,
        ready: dict[str, Any],
        clients: Mapping[str, str],
    ) -> None:
        self.at, self.ready, self._process, self._clients = at, ready, process, clients

    @property
    def variables(self) -> dict[str, str]:
        """The environment by which commands find this server."""
        return {
            "OPENIMDS_ADMIN": self.ready["admin"],
            "OPENIMDS_TOKEN_FILE": self.ready["token_file"],
        }

    def python(self, program: str, cases: Sequence[Mapping[str, Any]], **more: str) -> CasesRun:
        """Run a program of `programs/` on these cases."""
        # -P: the neighbours of the program are not its imports.
        return self.run([sys.executable, "-P", str(PROGRAMS / program)], cases, **more)

    def node(self, program: str, cases: Sequence[Mapping[str, Any]], **more: str) -> CasesRun:
        """Run a program of `js/` on these cases."""
        return self.run([tool("node"), str(JS / program)], cases, **more)

    def openimds(self, *arguments: str) -> Any:
        """Run `openimds` and return its JSON."""
        command = [sys.executable, "-m", "openimds", *arguments, "--json"]
        return self.run(command, [], **self.variables).results

    def env(self, *arguments: str) -> dict[str, str]:
        """Return the variables of `openimds env` with these arguments."""
        command = [sys.executable, "-m", "openimds", "env", "--shell", "json", *arguments]
        printed: dict[str, str] = json.loads(self.run_text(command, [], **self.variables).text)
        return printed

    def run(
        self, command: Sequence[str], cases: Sequence[Mapping[str, Any]], **more: str
    ) -> CasesRun:
        """Run a client that reads cases from stdin and prints a list of results."""
        ran = self.run_text(command, cases, **more)
        return CasesRun(json.loads(ran.text), ran.moved)

    def run_text(
        self, command: Sequence[str], cases: Sequence[Mapping[str, Any]], **more: str
    ) -> TextRun:
        """Run a program and return its output."""
        got = self._do(
            "run",
            command=list(command),
            cases=list(cases),
            env={**self._clients, **more},
            timeout_s=_TIMEOUT_S,
        )
        assert got["code"] == 0, got["err"]
        return TextRun(got["out"], got["moved"])

    def put(self, name: str, vm: Mapping[str, Any]) -> None:
        """Replace a VM."""
        assert self._do("put", name=name, vm=vm)["status"] in (200, 201)

    def stop(self) -> tuple[int, str]:
        """End the server; return its exit code and the sentences of its log."""
        got = self._do("stop")
        return got["code"], sentences(got["err"])

    def _do(self, action: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process in the namespace has ended"
        reply: dict[str, Any] = json.loads(line)
        assert "failed" not in reply, reply["failed"]
        return reply


@contextmanager
def private_server(
    fleet: Mapping[str, Any], *arguments: str, at: str, cwd: Path
) -> Iterator[PrivateServer]:
    """Serve a fleet in a private network, at the real or the redirected address.

    That network has no other address, so a response to a redirected client shows the redirection.
    """
    if reason := why_unavailable(prefix=PRIVATE):
        pytest.skip(reason)
    (cwd / "fleet.json").write_text(json.dumps(fleet))
    environment = clean_environment({"XDG_STATE_HOME": str(cwd / "state"), "HOME": str(cwd)})
    child = [sys.executable, str(HERE / "netns_child.py"), "--fleet", "fleet.json", "--listen", at]
    process = subprocess.Popen(
        [*PRIVATE, "sh", "-ec", _SETUP, "sh", *child, *arguments],
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
        yield PrivateServer(process, at, ready, {**environment, **_redirection(at, cwd)})
    finally:
        process.kill()
        process.communicate(timeout=30)


def _redirection(at: str, cwd: Path) -> dict[str, str]:
    """Return the variables of `openimds env` without its pin; none at the real address.

    Chains of credentials are tested whole; `test_ways.py` has the pinned ones.
    """
    if at == REAL:
        return {}
    printed = run("env", "--shell", "json", "--listen", at, "--no-chain-pin", cwd=cwd)
    assert printed.returncode == 0, printed.stderr
    variables: dict[str, str] = json.loads(printed.stdout)
    return variables
