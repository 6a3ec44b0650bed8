"""openimds exec at a terminal: its keys, job control, and who has it afterwards."""

import os
import pty
import select
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.cells import NAME, Place, place, until

__all__ = ["place"]
pytestmark = [pytest.mark.system, pytest.mark.netns]

_MOST_S = 20
CTRL_C, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x1a", "\x1c"
COUNTING = """
import os, signal, sys, urllib.request
said = []
signal.signal(signal.SIGINT, lambda *_: said.append(os.write(1, b"heard; ")))
print("up", flush=True)
sys.stdin.readline()
print("heard", len(said), "in all", flush=True)
asked = urllib.request.Request(sys.argv[1], headers={"Metadata": "true"})
print("it is still", urllib.request.urlopen(asked, timeout=20).read().decode(), flush=True)
sys.exit(9)
"""


class Terminal:
    """The side of a terminal where a person sits."""

    def __init__(self, process: "subprocess.Popen[bytes]", descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        self._shown = b""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._descriptor, text.encode())

    def see(self, text: str) -> None:
        """Wait until something is shown, and forget what was shown up to there."""
        while text.encode() not in self._shown:
            can_be_read, _, _ = select.select([self._descriptor], [], [], _MOST_S)
            assert can_be_read, f"no {text!r} in {self._shown!r}"
            try:
                self._shown += os.read(self._descriptor, 4096)
            except OSError:  # Nobody has it open any more.
                pytest.fail(f"no {text!r} in {self._shown!r}")
        self._shown = self._shown.partition(text.encode())[2]


@contextmanager
def at_a_terminal(place: Place, *command: str) -> Iterator[Terminal]:
    """Run a command as the first of a new session at a new terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=place.folder,
        env=place.environment(PS1="$ ", TERM="dumb"),
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(_MOST_S)
        os.close(ours)
        until(lambda: not place.processes())


def test_a_key_that_interrupts_is_heard_once_and_by_the_command_alone(place: Place) -> None:
    counting = ["--", place.user.python, "-c", COUNTING, NAME]
    with at_a_terminal(place, *place.openimds, "exec", *counting) as terminal:
        terminal.see("up")
        terminal.type(CTRL_C)
        terminal.see("heard")
        terminal.type("\n")
        terminal.see("heard 1 in all")
        terminal.see("it is still vm-1")
        assert terminal.process.wait(_MOST_S) == 9


@pytest.mark.parametrize(
    "key, number", [(CTRL_C, signal.SIGINT), (CTRL_BACKSLASH, signal.SIGQUIT)], ids=["C", "\\"]
)
def test_a_key_that_ends_the_command_ends_all(
    key: str, number: signal.Signals, place: Place
) -> None:
    with at_a_terminal(place, *place.openimds, "exec", "--", "cat") as terminal:
        terminal.type("there\n")
        terminal.see("there\r\nthere")
        terminal.type(key)
        assert terminal.process.wait(_MOST_S) == -number


def test_a_shell_stops_it_and_continues_it(place: Place) -> None:
    typed = shlex.join([*place.openimds, "exec", "--", "cat"])
    with at_a_terminal(place, "bash", "--norc", "--noediting", "-i") as terminal:
        terminal.see("$ ")
        terminal.type(f"{typed}\n")
        terminal.see("cat\r\n")
        terminal.type("one\n")
        terminal.see("one\r\none")
        terminal.type(CTRL_Z)
        terminal.see("Stopped")
        terminal.see("$ ")
        # The shell waits for its own child; a cat that is still awake would read what comes now.
        until(lambda: "cat T" in [*map(_name_and_state, place.processes())])
        terminal.type("fg\n")
        terminal.see("cat\r\n")
        terminal.type("two\n")
        terminal.see("two\r\ntwo")
        terminal.type("\x04")
        terminal.see("$ ")
        terminal.type("echo it was $?\n")
        terminal.see("it was 0")


def _name_and_state(process: int) -> str:
    name, _, rest = Path(f"/proc/{process}/stat").read_text().partition(") ")
    return f"{name.partition('(')[2]} {rest[0]}"


def test_a_shell_inside_has_jobs_of_its_own_and_gives_the_terminal_back(place: Place) -> None:
    shell = ["bash", "--norc", "--noediting", "-i"]
    inside = shlex.join([*place.openimds, "exec", "--", *shell])
    # Without job control nobody outside would take the terminal back.
    script = f"{inside}; read word; echo word is $word"
    with at_a_terminal(place, "sh", "-c", script) as terminal:
        terminal.see("$ ")
        # Nothing that forks: a shell that is stopped in the middle of that does not show it.
        terminal.type("sh -c 'echo begun; exec sleep 300'\n")
        terminal.see("begun\r\n")
        terminal.type(CTRL_Z)
        terminal.see("Stopped")
        terminal.type("kill -KILL %1; fg; exit 3\n")
        terminal.see("exit\r\n")
        # By then the terminal has been given back: what is typed now is for the shell outside.
        until(lambda: place.processes() == {terminal.process.pid})
        terminal.type("open\n")
        terminal.see("word is open")
        assert terminal.process.wait(_MOST_S) == 0
