"""A server whose time stands still, on which playbooks are played for clients of others."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.clients.fleet import BOTH
from tests.clients.kits import KITS, tool
from tests.clients.rig import PROGRAMS, REAL, Ran, Stage, stage

PROGRAM = str(PROGRAMS / "bad_day.py")
Moved = dict[str, int]


class Day:
    """One bad day of the one VM."""

    def __init__(self, served: Stage) -> None:
        self._served = served
        ready = served.ready
        self._admin = {"OPENIMDS_ADMIN": ready["admin"], "OPENIMDS_TOKEN_FILE": ready["token_file"]}

    def openimds(self, *arguments: str) -> Any:
        """Run a command of ours and return its JSON."""
        command = [sys.executable, "-m", "openimds", *arguments, "--json"]
        return self._served.run(command, [], **self._admin).results

    def play(self, playbook: str, *said: str) -> None:
        """Play a playbook from now on."""
        assert self.openimds("fault", "set", playbook, *said)

    def clear(self) -> None:
        """Let all be well."""
        command = [sys.executable, "-m", "openimds", "fault", "clear"]
        assert self._served.run_text(command, [], **self._admin).text == ""

    def ask(self, client: str) -> tuple[dict[str, Any], Moved]:
        """Let a client ask; return what came of it, and how the counters moved."""
        (result,), moved = self.ask_all({"client": client})
        return result, moved

    def ask_all(self, *cases: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Moved]:
        """Let one process ask several times."""
        if cases[0]["client"] == "cloud-init":
            ran = self._run([tool("python3.11"), "-P"], cases, KITS["guests"].variables())
        else:
            ran = self._run([sys.executable, "-P"], cases, {})
        return ran.results, ran.moved

    def _run(
        self, python: Sequence[str], cases: Sequence[Mapping[str, Any]], more: Mapping[str, str]
    ) -> Ran:
        return self._served.run([*python, PROGRAM], cases, **self._admin, **more)


@contextmanager
def standing_still(folder: Path) -> Iterator[Stage]:
    """Serve one VM at the real address, with a clock that only the test puts forward."""
    arguments = ("--no-rate-limit", "--virtual-clock")
    with stage({"vms": {"web-1": BOTH}}, *arguments, at=REAL, cwd=folder) as served:
        Day(served).openimds("clock", "--rate", "0")
        yield served
        assert served.stop() == (0, "")


@contextmanager
def day(served: Stage) -> Iterator[Day]:
    """Yield a day that is well again when it is over."""
    made = Day(served)
    yield made
    made.clear()
