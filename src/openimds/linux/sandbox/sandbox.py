"""A cell as its warden has it."""

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from openimds.errors import Error
from openimds.linux.private_netns import NamespaceError
from openimds.linux.sandbox.init_process import run_init
from openimds.linux.sandbox.messages import (
    Ended,
    InitStarted,
    Online,
    Opened,
    Order,
    Refused,
    SandboxSpec,
    message_pair,
    receive_report,
    send,
)
from openimds.linux.sandbox.output_multiplexer import OutputMultiplexer


class Sandbox:
    """One cell: its first process, which is a child of ours, and the line to it."""

    def __init__(
        self,
        spec: SandboxSpec,
        outputs: Sequence[OutputMultiplexer],
        pid: int,
        proc: str,
        line: socket.socket,
    ) -> None:
        """Take what `start_sandbox` has made."""
        self.spec, self.outputs, self.pid, self.proc, self.line = spec, outputs, pid, proc, line
        self.is_connected = not spec.is_online
        self._status: int | None = None

    def listen(self) -> bool:
        """Take the next word of the first process; tell whether there was one."""
        word, _ = receive_report(self.line)
        if isinstance(word, Online):
            self.is_connected = True
        if isinstance(word, Ended):
            self._status = word.status
        return word is not None

    def send(self, order: Order) -> None:
        """Give the first process an order."""
        send(self.line, order)

    def settle(self, status: int) -> int:
        """Return the status of COMMAND, once the first process has ended with its own."""
        while self.listen():
            pass
        self.line.close()
        for output in self.outputs:
            output.close()
        return status if self._status is None else self._status

    def let_go(self) -> None:
        """Close what only the warden has to do with, in a child of its own."""
        self.line.close()
        for output in self.outputs:
            output.let_go()

    def end(self) -> None:
        """End the cell and all that is in it."""
        self.line.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        for output in self.outputs:
            output.close()


def start_sandbox(
    spec: SandboxSpec,
    outputs: Sequence[OutputMultiplexer],
    mask: Iterable[int],
    others: Sequence[Sandbox],
) -> tuple[Sandbox, list[socket.socket]]:
    """Return a new cell beside others, and the sockets that listen in it.

    `outputs` are what its COMMAND's streams lead to, if they do not lead to the warden's.

    Raises:
        NamespaceError: the kernel does not let us.
        Error: an address cannot be had in it.
    """
    refused = Refused("")
    for has_own_pids in (True, False):
        ours, theirs = message_pair()
        child = os.fork()
        if child == 0:
            ours.close()
            for other in others:
                other.let_go()
            for output in outputs:
                output.let_go()
            run_init(spec, theirs, mask, has_own_pids=has_own_pids)
        theirs.close()
        pid, outcome, sockets = _await(ours)
        if pid and pid != child:
            # It has handed its place to its child, which is ours as soon as it has ended.
            os.waitpid(child, 0)
        if isinstance(outcome, Opened):
            return Sandbox(spec, outputs, pid, outcome.proc, ours), sockets
        ours.close()
        os.waitpid(pid or child, 0)
        refused = outcome or Refused("a cell ended at once")
        if refused.is_final:
            raise Error(refused.text)
    raise NamespaceError(refused.text)


def _await(line: socket.socket) -> tuple[int, Opened | Refused | None, list[socket.socket]]:
    """Return the id of a first process, what has become of its cell, and the sockets in there.

    Its parent tells its id, and may be slower than it is itself.
    """
    pid, outcome, sockets = 0, None, []
    while not (pid and isinstance(outcome, Opened)):
        word, given = receive_report(line)
        if isinstance(word, InitStarted):
            pid = word.pid
        elif isinstance(word, Opened | Refused):
            outcome, sockets = word, given
        elif word is None:
            break
    return pid, outcome, sockets
