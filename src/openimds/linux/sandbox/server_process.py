"""The server of the cells: a child of the warden's that nothing from the terminal reaches."""

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
_LONGEST = 1 << 20

Variables = list[dict[str, str]]
Serve = Callable[[Callable[[Variables], None]], None]
"""Runs the server until SIGTERM; tells the variables of each COMMAND once the server answers."""


class ServerProcess:
    """The server's process, as its warden has it."""

    def __init__(self, serve: Serve, mask: Iterable[int], cells: Sequence[Sandbox]) -> None:
        """Start it; what leads into the cells is not its own."""
        self.variables: Variables | None = None
        self.line, theirs = message_pair()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self.line.close()
            for cell in cells:
                cell.let_go()
            _be(serve, theirs, mask, parent)
        theirs.close()

    def listen(self) -> bool:
        """Take what it says; tell whether it may say more.

        Raises:
            Error: it cannot serve.
        """
        data = self.line.recv(_LONGEST)
        if data:
            said = pickle.loads(data)  # noqa: S301 - our own child has written it
            if isinstance(said, Error):
                raise said
            self.variables = said
        elif self.variables is None:
            raise Error("the server ended before it answered")
        return bool(data)

    def settle(self) -> None:
        """Note that it has ended.

        Raises:
            Error: it could not serve.
        """
        self.pid = 0
        while self.listen():
            pass

    def end(self) -> None:
        """End it: in order, or, if that takes too long, at once."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            waiting = select.poll()
            waiting.register(self.line, select.POLLIN)
            while waiting.poll(_DRAIN_S * 1000) and self.line.recv(_LONGEST):
                pass
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.line.close()


def _be(serve: Serve, line: socket.socket, mask: Iterable[int], parent: int) -> NoReturn:
    """Be the server, and end with it."""
    code = 1
    try:
        # Keys of the terminal are meant for COMMAND, which may need us for its last words.
        os.setsid()
        syscalls.end_with_parent(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.getppid() == parent:
            serve(lambda variables: _say(line, variables))
        code = 0
    except Error as error:
        _say(line, error)
    except BaseException:  # noqa: BLE001 - a mistake of ours; nobody else would print it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _say(line: socket.socket, said: Variables | Error) -> None:
    try:
        data = pickle.dumps(said)
        pickle.loads(data)  # noqa: S301 - our own words; not every error can be made anew
    except TypeError:
        data = pickle.dumps(Error(str(said)))
    line.send(data)
