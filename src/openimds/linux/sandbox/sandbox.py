"""A sandbox as its supervisor sees it: the init process, its channel, its outputs."""

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
    """One sandbox: its init process, a child of the supervisor, and the channel to it."""

    def __init__(
        self,
        spec: SandboxSpec,
        outputs: Sequence[OutputMultiplexer],
        pid: int,
        proc: str,
        channel: socket.socket,
    ) -> None:
        """Take the parts that `start_sandbox` has made."""
        self.spec, self.outputs, self.pid, self.proc = spec, outputs, pid, proc
        self.channel = channel
        self.is_connected = not spec.is_online
        self._status: int | None = None

    def receive(self) -> bool:
        """Take the next report of the init process; tell whether there was one."""
        report, _ = receive_report(self.channel)
        if isinstance(report, Online):
            self.is_connected = True
        if isinstance(report, Ended):
            self._status = report.status
        return report is not None

    def send(self, order: Order) -> None:
        """Send an order to the init process."""
        send(self.channel, order)

    def finish(self, status: int) -> int:
        """Return the status of COMMAND, after the init process has ended with its own."""
        while self.receive():
            pass
        self.channel.close()
        for output in self.outputs:
            output.close()
        return status if self._status is None else self._status

    def close_in_child(self) -> None:
        """Close the supervisor's descriptors in a forked child."""
        self.channel.close()
        for output in self.outputs:
            output.close_read_end()

    def end(self) -> None:
        """End all processes of the sandbox: the init process ends with its channel."""
        self.channel.close()
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
    """Start a sandbox beside others; return it, and the sockets that listen in it.

    `outputs` replace the supervisor's streams for its COMMAND, if there are any. `mask` are the
    signals that COMMAND will have blocked.

    Raises:
        NamespaceError: the kernel refuses the namespaces.
        Error: an address cannot be bound in the sandbox.
    """
    refused = Refused("")
    for has_own_pids in (True, False):
        own_end, child_end = message_pair()
        child = os.fork()
        if child == 0:
            own_end.close()
            for other in others:
                other.close_in_child()
            for output in outputs:
                output.close_read_end()
            run_init(spec, child_end, mask, has_own_pids=has_own_pids)
        child_end.close()
        pid, outcome, sockets = _await_outcome(own_end)
        if pid and pid != child:
            # The child forked the init process and has ended: the init process is ours now.
            os.waitpid(child, 0)
        if isinstance(outcome, Opened):
            return Sandbox(spec, outputs, pid, outcome.proc, own_end), sockets
        own_end.close()
        os.waitpid(pid or child, 0)
        refused = outcome or Refused(f"the init process of the sandbox {spec.name} has ended")
        if refused.is_final:
            raise Error(refused.text)
    raise NamespaceError(refused.text)


def _await_outcome(
    channel: socket.socket,
) -> tuple[int, Opened | Refused | None, list[socket.socket]]:
    """Return the id of an init process, the outcome of its start, and its sockets.

    Its parent reports the id, and may be slower than the init process itself.
    """
    pid, outcome, sockets = 0, None, []
    while not (pid and isinstance(outcome, Opened)):
        report, received = receive_report(channel)
        if isinstance(report, InitStarted):
            pid = report.pid
        elif isinstance(report, Opened | Refused):
            outcome, sockets = report, received
        elif report is None:
            break
    return pid, outcome, sockets
