"""The process that the user started: it has cells made and a server run, and it watches."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from selectors import EVENT_READ, PollSelector
from types import TracebackType
from typing import NoReturn, Self

from msgspec import structs

from openimds.errors import Error
from openimds.linux import syscalls
from openimds.linux.sandbox.messages import ForwardSignal, SandboxSpec, StartCommand
from openimds.linux.sandbox.output_multiplexer import OutputMultiplexer
from openimds.linux.sandbox.pasta import Pasta
from openimds.linux.sandbox.sandbox import Sandbox, start_sandbox
from openimds.linux.sandbox.server_process import Serve, ServerProcess

_SHELLS_OFFSET = 128
_NOT_PASSED_ON = {
    # Nobody can.
    signal.SIGKILL,
    signal.SIGSTOP,
    # The terminal says these to COMMAND as well; here they stop and continue the warden.
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    # These say that this process itself is broken.
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGTRAP,
    signal.SIGSYS,
    # Python ignores these, and writes fail instead.
    signal.SIGPIPE,
    signal.SIGXFSZ,
}
_END_NOBODY = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH}
"""What a process that does not ask for these never hears of."""


class _CancelledError(Exception):
    """A signal came before there was a COMMAND to pass it on to."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


class Supervisor:
    """All cells of one run, and the server that answers in them; with it, they end."""

    def __init__(self, specs: Sequence[SandboxSpec], notify: Callable[[str], None]) -> None:
        """Block the signals that are passed on; they are read from a descriptor instead."""
        self._specs, self._notify = specs, notify
        # Whoever has been told to ignore the end of children never hears how they end.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self._signals = syscalls.signal_fd(signal.valid_signals() - _NOT_PASSED_ON)
        self._terminal = _foreground_terminal()
        self._selector = PollSelector()
        self._cells: dict[int, Sandbox] = {}
        self._ways_out: dict[int, Pasta] = {}
        self._server: ServerProcess | None = None
        self._is_started = False
        self._status = 0
        # The process that makes a cell ends, and leaves its child to us.
        syscalls.adopt_orphans()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """End everything, and take the terminal and the signals back."""
        for cell in self._cells.values():
            cell.end()
        for way_out in self._ways_out.values():
            way_out.end()
        if self._server:
            self._server.end()
        if self._terminal is not None:
            _take_terminal_back(self._terminal)
        syscalls.read_signals(self._signals)
        os.close(self._signals)
        self._selector.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def open(self) -> list[list[socket.socket]]:
        """Make the cells; return the listening sockets of each, as its spec has them.

        Raises:
            NamespaceError: the kernel does not let us.
            Error: an address cannot be had in a cell.
        """
        opened = []
        for spec in self._specs:
            outputs: list[OutputMultiplexer] = []
            if len(self._specs) > 1:
                outputs = [OutputMultiplexer(spec.name, to) for to in (1, 2)]
                nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                streams = (nothing, *(one.into for one in outputs))
                spec = structs.replace(spec, streams=streams)  # noqa: PLW2901 - the same, in full
            cell, sockets = start_sandbox(spec, outputs, self._mask, self.sandboxes)
            for descriptor in spec.streams:
                os.close(descriptor)
            self._cells[cell.pid] = cell
            opened.append(sockets)
        return opened

    @property
    def sandboxes(self) -> list[Sandbox]:
        """The cells whose COMMAND has not ended, in the order of the specs."""
        return list(self._cells.values())

    def run(self, serve: Serve, sockets: Sequence[socket.socket]) -> int:
        """Serve, run every COMMAND, and return the status of the first that failed, or 0.

        It is a status as wait(2) has it. `sockets` are what is served; they are closed here.

        Raises:
            Error: as `serve`; or there is no way out of a cell that wants one.
        """
        self._server = ServerProcess(serve, self._mask, self.sandboxes)
        for one in sockets:
            one.close()
        self._hear(self._signals, self._take_signals)
        self._hear(self._server.line.fileno(), self._server.listen)
        for cell in self.sandboxes:
            self._hear(cell.line.fileno(), cell.listen)
            for output in cell.outputs:
                self._hear(output.descriptor, output.forward)
            if cell.spec.is_online:
                way_out = Pasta(cell.pid, self._mask)
                self._ways_out[way_out.pid] = way_out
        try:
            self._watch()
        except _CancelledError as cancelled:
            return cancelled.number
        return self._status

    def _watch(self) -> None:
        while self._cells:
            for key, _ in self._selector.select():
                if not key.data():
                    self._selector.unregister(key.fd)
            # Only now: what has ended may have said something before.
            self._reap()
            self._start()

    def _hear(self, descriptor: int, handler: Callable[[], bool]) -> None:
        """Have a handler called when a descriptor can be read, until it says no."""
        self._selector.register(descriptor, EVENT_READ, handler)

    def _hear_no_more(self, descriptor: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(descriptor)

    def _take_signals(self) -> bool:
        for arrived in syscalls.read_signals(self._signals):
            if not self._is_started and arrived.number not in _END_NOBODY:
                raise _CancelledError(arrived.number)
            # What a key of the terminal means, COMMAND has been told by the terminal.
            if arrived.number != signal.SIGCHLD and not arrived.is_from_kernel:
                for cell in self.sandboxes:
                    cell.send(ForwardSignal(arrived.number))
        return True

    def _start(self) -> None:
        """Start every COMMAND once the server answers and all ways out are there."""
        assert self._server
        variables = self._server.variables
        if self._is_started or not all(cell.is_connected for cell in self.sandboxes):
            return
        if variables is not None:
            self._is_started = True
            for cell, own in zip(self.sandboxes, variables, strict=True):
                cell.send(StartCommand(own))

    def _reap(self) -> None:
        assert self._server
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid in self._cells:
                    self._settle(self._cells.pop(pid), status)
                elif pid in self._ways_out:
                    text = self._ways_out.pop(pid).settle()
                    if not self._is_started:
                        raise Error(text)
                    self._notify(text)
                elif pid == self._server.pid:
                    self._hear_no_more(self._server.line.fileno())
                    self._server.settle()
                    self._notify("the server has ended, and nobody answers any more")

    def _settle(self, cell: Sandbox, status: int) -> None:
        """Note how a COMMAND has ended, and print the rest of what it said.

        Raises:
            Error: it had not begun.
        """
        for descriptor in (cell.line.fileno(), *(one.descriptor for one in cell.outputs)):
            self._hear_no_more(descriptor)
        status = cell.settle(status)
        if not self._is_started:
            raise Error(f"{cell.spec.name}: its network has ended before COMMAND could begin")
        if status and len(self._specs) > 1:
            self._notify(f"{cell.spec.name}: ended with {_code(status)}")
        self._status = self._status or status


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return _SHELLS_OFFSET - code if code < 0 else code


def exit_like(status: int) -> NoReturn:
    """End this process as another has ended: with its code, or of its signal."""
    if os.WIFSIGNALED(status):
        syscalls.dump_no_core()
        number = os.WTERMSIG(status)
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    # There are processes that a signal does not end, such as the first one of a container.
    raise SystemExit(_code(status))


def _foreground_terminal() -> int | None:
    """Return a standard stream whose terminal has our process group in the foreground, if any."""
    for descriptor in range(3):
        with suppress(OSError):
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                return descriptor
    return None


def _take_terminal_back(descriptor: int) -> None:
    """Put our process group into the foreground of a terminal again.

    A COMMAND that does job control may leave the terminal to a process group that has ended.
    """
    # A background process that calls tcsetpgrp is stopped unless it blocks SIGTTOU.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    with suppress(OSError):
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            os.tcsetpgrp(descriptor, os.getpgrp())
