"""The server of the sandboxes: a child of the supervisor without a terminal."""

import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from openimds.errors import Error
from openimds.linux import syscalls
from openimds.linux.sandbox.messages import message_pair
from openimds.linux.sandbox.sandbox import Sandbox

_DRAIN_S = 15.0
_MAX_MESSAGE = 1 << 20

Variables = list[dict[str, str]]
Serve = Callable[[Callable[[Variables], None]], None]
"""Runs the server until SIGTERM; when ready, calls back with the variables of each COMMAND."""


class ServerProcess:
    """The server's process as its supervisor sees it."""

    def __init__(self, serve: Serve, mask: Iterable[int], sandboxes: Sequence[Sandbox]) -> None:
        """Fork the server, without the supervisor's channels to the sandboxes."""
        self.variables: Variables | None = None
        self.channel, child_end = message_pair()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self.channel.close()
            for sandbox in sandboxes:
                sandbox.close_in_child()
            _run_server(serve, child_end, mask, parent)
        child_end.close()

    def receive(self) -> bool:
        """Take the next message; tell whether more may come.

        Raises:
            Error: the server cannot start.
        """
        data = self.channel.recv(_MAX_MESSAGE)
        if data:
            message = pickle.loads(data)  # noqa: S301 - our own child has written it
            if isinstance(message, Error):
                raise message
            self.variables = message
        elif self.variables is None:
            raise Error("the server ended before it was ready")
        return bool(data)

    def finish(self) -> None:
        """Take the last messages of the ended server.

        Raises:
            Error: the server could not start.
        """
        self.pid = 0
        while self.receive():
            pass

    def end(self) -> None:
        """End the server: by SIGTERM, and by SIGKILL after `_DRAIN_S`."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            poll = select.poll()
            poll.register(self.channel, select.POLLIN)
            while poll.poll(_DRAIN_S * 1000) and self.channel.recv(_MAX_MESSAGE):
                pass
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.channel.close()


def _run_server(serve: Serve, channel: socket.socket, mask: Iterable[int], parent: int) -> NoReturn:
    """Run the server in this forked process, and exit with it."""
    code = 1
    try:
        # A session of its own: keys of the terminal are for COMMAND, which may need the server to
        # the end.
        os.setsid()
        syscalls.end_with_parent(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.getppid() == parent:
            serve(lambda variables: _send(channel, variables))
        code = 0
    except Error as error:
        _send(channel, error)
    except BaseException:  # noqa: BLE001 - an internal error, which is printed here or lost
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _send(channel: socket.socket, message: Variables | Error) -> None:
    try:
        data = pickle.dumps(message)
        pickle.loads(data)  # noqa: S301 - our own message: some errors cannot be unpickled
    except TypeError:
        data = pickle.dumps(Error(str(message)))
    channel.send(data)
