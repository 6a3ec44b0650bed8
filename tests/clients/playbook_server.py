"""A server with a stopped clock that plays playbooks for clients."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.clients.fleet import BOTH
from tests.clients.kits import KITS, tool
from tests.clients.private_server import PROGRAMS, REAL, CasesRun, PrivateServer, private_server

PROGRAM = str(PROGRAMS / "playbook.py")
Moved = dict[str, int]
"""The changes of counters, by name."""


class PlaybookServer:
    """A server whose one VM has a playbook."""

    def __init__(self, server: PrivateServer) -> None:
        self._server = server

    def play(self, playbook: str, *parameters: str) -> None:
        """Play a playbook from now on."""
        assert self._server.openimds("fault", "set", playbook, *parameters)

    def clear(self) -> None:
        """Clear all faults."""
        command = [sys.executable, "-m", "openimds", "fault", "clear"]
        assert self._server.run_text(command, [], **self._server.variables).text == ""

    def run(self, client: str) -> tuple[dict[str, Any], Moved]:
        """Run a client once; return its result and the changes of the counters."""
        (result,), moved = self.run_all({"client": client})
        return result, moved

    def run_all(self, *cases: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Moved]:
        """Run several cases in one process."""
        if cases[0]["client"] == "cloud-init":
            ran = self._run([tool("python3.11"), "-P"], cases, KITS["guests"].variables())
        else:
            ran = self._run([sys.executable, "-P"], cases, {})
        return ran.results, ran.moved

    def _run(
        self, python: Sequence[str], cases: Sequence[Mapping[str, Any]], more: Mapping[str, str]
    ) -> CasesRun:
        return self._server.run([*python, PROGRAM], cases, **self._server.variables, **more)


@contextmanager
def stopped_clock(folder: Path, *more: str) -> Iterator[PrivateServer]:
    """Serve one VM at the real address, with a clock that only the test advances.

    `more` are further arguments of `openimds serve`.
    """
    arguments = ("--no-rate-limit", "--virtual-clock", *more)
    with private_server({"vms": {"web-1": BOTH}}, *arguments, at=REAL, cwd=folder) as server:
        server.openimds("clock", "--rate", "0")
        yield server
        assert server.stop() == (0, "")


@contextmanager
def playbook_server(server: PrivateServer) -> Iterator[PlaybookServer]:
    """Yield a server for playbooks, and clear its faults after the block."""
    playing = PlaybookServer(server)
    yield playing
    playing.clear()
