"""The supervisor: the process that the user started, which runs sandboxes and their server."""

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
_NOT_FORWARDED = {
    # These cannot be caught.
    signal.SIGKILL,
    signal.SIGSTOP,
    # The terminal sends these to COMMAND as well; here they stop and continue the supervisor.
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
    # These mean that this process itself is broken.
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
_IGNORED_BY_DEFAULT = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH}
"""The signals whose default action is to do nothing."""


class _CancelledError(Exception):
    """A signal arrived before COMMAND was started."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


class Supervisor:
    """Runs sandboxes and the server that answers in them; they end with it."""

    def __init__(self, specs: Sequence[SandboxSpec], notify: Callable[[str], None]) -> None:
        """Block the signals that are forwarded, and read them from a descriptor instead."""
        self._specs, self._notify = specs, notify
        # A parent may have set SIGCHLD to be ignored: then the kernel would reap our children.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        self._signals = syscalls.signal_fd(signal.valid_signals() - _NOT_FORWARDED)
        self._terminal = _foreground_terminal()
        self._selector = PollSelector()
        self._sandboxes: dict[int, Sandbox] = {}
        self._pastas: dict[int, Pasta] = {}
        self._server: ServerProcess | None = None
        self._is_started = False
        self._status = 0
        # The process that makes a sandbox ends, and leaves the init process to us.
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
        """End all processes, and restore terminal and signals."""
        for sandbox in self._sandboxes.values():
            sandbox.end()
        for pasta in self._pastas.values():
            pasta.end()
        if self._server:
            self._server.end()
        if self._terminal is not None:
            _take_terminal_back(self._terminal)
        syscalls.read_signals(self._signals)
        os.close(self._signals)
        self._selector.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def open(self) -> list[list[socket.socket]]:
        """Start the sandboxes; return their listening sockets, in the order of their specs.

        Raises:
            NamespaceError: the kernel refuses the namespaces.
            Error: an address cannot be bound in a sandbox.
        """
        opened = []
        for spec in self._specs:
            outputs: list[OutputMultiplexer] = []
            if len(self._specs) > 1:
                outputs = [OutputMultiplexer(spec.name, target) for target in (1, 2)]
                null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                streams = (null, *(output.write_end for output in outputs))
                spec = structs.replace(spec, streams=streams)  # noqa: PLW2901 - the same, in full
            sandbox, sockets = start_sandbox(spec, outputs, self._mask, self.sandboxes)
            for descriptor in spec.streams:
                os.close(descriptor)
            self._sandboxes[sandbox.pid] = sandbox
            opened.append(sockets)
        return opened

    @property
    def sandboxes(self) -> list[Sandbox]:
        """The sandboxes whose COMMAND has not ended, in the order of their specs."""
        return list(self._sandboxes.values())

    def run(self, serve: Serve, sockets: Sequence[socket.socket]) -> int:
        """Run the server and every COMMAND; return the status of the first failure, or 0.

        The status is that of wait(2). `sockets` are those of the server; they are closed here.

        Raises:
            Error: the server cannot start, or a sandbox that wants egress has none.
        """
        self._server = ServerProcess(serve, self._mask, self.sandboxes)
        for item in sockets:
            item.close()
        self._watch(self._signals, self._take_signals)
        self._watch(self._server.channel.fileno(), self._server.receive)
        for sandbox in self.sandboxes:
            self._watch(sandbox.channel.fileno(), sandbox.receive)
            for output in sandbox.outputs:
                self._watch(output.descriptor, output.forward)
            if sandbox.spec.is_online:
                pasta = Pasta(sandbox.pid, self._mask)
                self._pastas[pasta.pid] = pasta
        try:
            self._loop()
        except _CancelledError as cancelled:
            return cancelled.number
        return self._status

    def _loop(self) -> None:
        while self._sandboxes:
            for key, _ in self._selector.select():
                if not key.data():
                    self._selector.unregister(key.fd)
            # Last: an ended process may have sent messages before.
            self._reap()
            self._start()

    def _watch(self, descriptor: int, handler: Callable[[], bool]) -> None:
        """Call a handler whenever a descriptor is readable, until it returns False."""
        self._selector.register(descriptor, EVENT_READ, handler)

    def _unwatch(self, descriptor: int) -> None:
        with suppress(KeyError):
            self._selector.unregister(descriptor)

    def _take_signals(self) -> bool:
        for received in syscalls.read_signals(self._signals):
            if not self._is_started and received.number not in _IGNORED_BY_DEFAULT:
                raise _CancelledError(received.number)
            # The terminal sends the signals of its keys to COMMAND itself.
            if received.number != signal.SIGCHLD and not received.is_from_kernel:
                for sandbox in self.sandboxes:
                    sandbox.send(ForwardSignal(received.number))
        return True

    def _start(self) -> None:
        """Start every COMMAND once the server is ready and all sandboxes have their egress."""
        assert self._server
        variables = self._server.variables
        if self._is_started or not all(sandbox.is_connected for sandbox in self.sandboxes):
            return
        if variables is not None:
            self._is_started = True
            for sandbox, own in zip(self.sandboxes, variables, strict=True):
                sandbox.send(StartCommand(own))

    def _reap(self) -> None:
        assert self._server
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid in self._sandboxes:
                    self._finish(self._sandboxes.pop(pid), status)
                elif pid in self._pastas:
                    sentence = self._pastas.pop(pid).finish()
                    if not self._is_started:
                        raise Error(sentence)
                    self._notify(sentence)
                elif pid == self._server.pid:
                    self._unwatch(self._server.channel.fileno())
                    self._server.finish()
                    self._notify("the server has ended: requests of COMMAND get no response")

    def _finish(self, sandbox: Sandbox, status: int) -> None:
        """Record the status of an ended COMMAND, and print the rest of its output.

        Raises:
            Error: COMMAND was not started.
        """
        outputs = (output.descriptor for output in sandbox.outputs)
        for descriptor in (sandbox.channel.fileno(), *outputs):
            self._unwatch(descriptor)
        status = sandbox.finish(status)
        if not self._is_started:
            raise Error(f"{sandbox.spec.name}: the sandbox ended before COMMAND was started")
        if status and len(self._specs) > 1:
            self._notify(f"{sandbox.spec.name}: COMMAND exited with {_code(status)}")
        self._status = self._status or status


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return _SHELLS_OFFSET - code if code < 0 else code


def exit_like(status: int) -> NoReturn:
    """End this process like another: with its exit code, or by its signal."""
    if os.WIFSIGNALED(status):
        syscalls.dump_no_core()
        number = os.WTERMSIG(status)
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
    # Some processes survive such a signal, for instance the first one of a container.
    raise SystemExit(_code(status))


def _foreground_terminal() -> int | None:
    """Return a standard stream whose terminal has our process group in the foreground."""
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
