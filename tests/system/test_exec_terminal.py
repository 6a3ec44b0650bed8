"""openimds exec at a terminal: keys, job control, and the terminal afterwards."""

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

from tests.support.waiting import until
from tests.system.sandboxes import NAME, Place, place

__all__ = ["place"]
pytestmark = [pytest.mark.system, pytest.mark.netns]

_TIMEOUT_S = 20
CTRL_C, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x1a", "\x1c"
COUNTING = """
import os, signal, sys, urllib.request
interrupts = []
signal.signal(signal.SIGINT, lambda *_: interrupts.append(os.write(1, b"got; ")))
print("up", flush=True)
sys.stdin.readline()
print("got", len(interrupts), "in all", flush=True)
request = urllib.request.Request(sys.argv[1], headers={"Metadata": "true"})
print("it is still", urllib.request.urlopen(request, timeout=20).read().decode(), flush=True)
sys.exit(9)
"""


class Terminal:
    """The keyboard and the screen of a terminal."""

    def __init__(self, process: "subprocess.Popen[bytes]", descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        self._shown = b""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._descriptor, text.encode())

    def see(self, text: str) -> None:
        """Wait until a text is shown, and drop the output up to its end."""
        while text.encode() not in self._shown:
            can_be_read, _, _ = select.select([self._descriptor], [], [], _TIMEOUT_S)
            assert can_be_read, f"no {text!r} in {self._shown!r}"
            try:
                self._shown += os.read(self._descriptor, 4096)
            except OSError:  # The last process has closed the terminal.
                pytest.fail(f"no {text!r} in {self._shown!r}")
        self._shown = self._shown.partition(text.encode())[2]


@contextmanager
def at_a_terminal(place: Place, *command: str) -> Iterator[Terminal]:
    """Run a command as the first of a new session at a new terminal."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=place.folder,
        env=place.environment(PS1="$ ", TERM="dumb"),
    )
    os.close(terminal)
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        process.wait(_TIMEOUT_S)
        os.close(screen)
        until(lambda: not place.processes())


def test_interrupt_key_reaches_the_command_once(place: Place) -> None:
    counting = ["--", place.user.python, "-c", COUNTING, NAME]
    with at_a_terminal(place, *place.openimds, "exec", *counting) as terminal:
        terminal.see("up")
        terminal.type(CTRL_C)
        terminal.see("got")
        terminal.type("\n")
        terminal.see("got 1 in all")
        terminal.see("it is still vm-1")
        assert terminal.process.wait(_TIMEOUT_S) == 9


@pytest.mark.parametrize(
    "key, number", [(CTRL_C, signal.SIGINT), (CTRL_BACKSLASH, signal.SIGQUIT)], ids=["C", "\\"]
)
def test_key_that_ends_the_command_ends_all(key: str, number: signal.Signals, place: Place) -> None:
    with at_a_terminal(place, *place.openimds, "exec", "--", "cat") as terminal:
        terminal.type("there\n")
        terminal.see("there\r\nthere")
        terminal.type(key)
        assert terminal.process.wait(_TIMEOUT_S) == -number


def test_shell_can_stop_and_continue_exec(place: Place) -> None:
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
        # The shell waits for its own child; a cat that still runs would read the next keys.
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


def test_shell_inside_has_job_control_and_returns_the_terminal(place: Place) -> None:
    shell = ["bash", "--norc", "--noediting", "-i"]
    inside = shlex.join([*place.openimds, "exec", "--", *shell])
    # sh has no job control here, so it does not take the terminal back itself.
    script = f"{inside}; read word; echo word is $word"
    with at_a_terminal(place, "sh", "-c", script) as terminal:
        terminal.see("$ ")
        # A command that does not fork: a shell stopped while forking would not show it.
        terminal.type("sh -c 'echo begun; exec sleep 300'\n")
        terminal.see("begun\r\n")
        terminal.type(CTRL_Z)
        terminal.see("Stopped")
        terminal.type("kill -KILL %1; fg; exit 3\n")
        terminal.see("exit\r\n")
        # The terminal has been given back: the shell outside reads the next keys.
        until(lambda: place.processes() == {terminal.process.pid})
        terminal.type("open\n")
        terminal.see("word is open")
        assert terminal.process.wait(_TIMEOUT_S) == 0
