"""The first process of a cell: makes it, opens its sockets, starts COMMAND, and waits."""

import errno
import os
import select
import shutil
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NoReturn

from openimds.linux import syscalls
from openimds.linux.blackhole_rules import add_blackhole_rules
from openimds.linux.loopback import raise_loopback
from openimds.linux.private_netns import (
    UNAVAILABLE,
    NamespaceError,
    refusal,
    unshare_namespaces,
    unshare_users,
)
from openimds.linux.sandbox import pasta
from openimds.linux.sandbox.messages import (
    Ended,
    InitStarted,
    Online,
    Opened,
    Refused,
    SandboxSpec,
    StartCommand,
    receive_order,
    send,
)

_BACKLOG = 4096
_NOT_FOUND = 127
_NOT_EXECUTABLE = 126
_DEVICES = syscalls.NO_SUID | syscalls.NO_DEV | syscalls.NO_EXEC


class _Unopened(Exception):  # noqa: N818 - it never leaves this module
    """A socket cannot be opened in the cell; its text says which and why."""


def run_init(
    spec: SandboxSpec, line: socket.socket, mask: Iterable[int], *, has_own_pids: bool
) -> NoReturn:
    """Make a cell in this process, which was forked for it, and end with it.

    `mask` are the signals that COMMAND shall have blocked: those that the user had.
    """
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        _make(spec, line, mask, has_own_pids=has_own_pids)
    except NamespaceError as error:
        send(line, Refused(str(error)))
    except _Unopened as error:
        send(line, Refused(str(error), is_final=True))
    except BaseException as error:  # noqa: BLE001 - the warden tells it
        send(line, Refused(f"a mistake of ours: {error!r}", is_final=True))
    finally:
        os._exit(0)


def _make(
    spec: SandboxSpec, line: socket.socket, mask: Iterable[int], *, has_own_pids: bool
) -> None:
    # pasta may enter networks of its user's own making alone, be he root.
    apart = _leave_users if spec.is_online else unshare_namespaces
    if has_own_pids:
        is_mapped = apart(syscalls.NEW_NET | syscalls.NEW_PIDS | syscalls.NEW_MOUNTS)
        if child := os.fork():
            send(line, InitStarted(child))
            return
    else:
        # By /proc it finds its descendants, and COMMAND the token.
        if os.readlink("/proc/self") != str(os.getpid()):  # noqa: PTH115 - a name, not a path
            raise NamespaceError(
                f"{UNAVAILABLE}: /proc shows the processes of another namespace; mount a /proc of "
                "this one"
            )
        is_mapped = apart(syscalls.NEW_NET)
        syscalls.adopt_orphans()
        send(line, InitStarted(os.getpid()))
    try:
        if has_own_pids:
            _mount_proc()
        raise_loopback()
        if spec.is_online:
            add_blackhole_rules()
    except OSError as error:
        raise refusal(error) from None
    route = pasta.watch_routes() if spec.is_online else None
    sockets = [_listen(host, port) for host, port in spec.listen]
    if has_own_pids and spec.is_online:
        with suppress(OSError):  # Names are asked for as they are outside, then.
            pasta.redirect_name_servers()
    if is_mapped and os.geteuid():
        # COMMAND has none, and may look at nobody in /proc who has more than it has.
        syscalls.drop_capabilities()
    send(line, Opened("/proc/1" if has_own_pids else f"/proc/{os.getpid()}"), sockets)
    for one in sockets:
        one.close()
    _InitProcess(spec, line, mask, route, has_own_pids=has_own_pids).live()


def _leave_users(flags: int) -> bool:
    unshare_users(flags)
    return True


def _mount_proc() -> None:
    """Show the processes of the cell, and no mount of it outside."""
    syscalls.mount("", "/", "", syscalls.SLAVE | syscalls.RECURSIVE)
    syscalls.mount("proc", "/proc", "proc", _DEVICES)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise _Unopened(f"{host}:{port} cannot be had beside COMMAND: {said}") from None


class _InitProcess:
    """The process itself, once everything is there."""

    def __init__(
        self,
        spec: SandboxSpec,
        line: socket.socket,
        mask: Iterable[int],
        route: socket.socket | None,
        *,
        has_own_pids: bool,
    ) -> None:
        self._spec, self._line, self._mask, self._route = spec, line, mask, route
        self._has_own_pids = has_own_pids
        self._children = syscalls.signal_fd([signal.SIGCHLD])
        self._command = 0
        self._is_over = False

    def live(self) -> None:
        """Do what the warden says until COMMAND has ended, or the warden; with it, all end."""
        try:
            self._listen()
        finally:
            if not self._has_own_pids:
                _end_descendants()

    def _listen(self) -> None:
        heard: dict[int, Callable[[], None]] = {
            self._line.fileno(): self._obey,
            self._children: self._reap,
        }
        if self._route:
            heard[self._route.fileno()] = self._look_out
        waiting = select.poll()
        for descriptor in heard:
            waiting.register(descriptor, select.POLLIN)
        while not self._is_over:
            for descriptor, _ in waiting.poll():
                heard[descriptor]()
                if self._route and self._route.fileno() < 0:
                    waiting.unregister(descriptor)
                    self._route = None

    def _obey(self) -> None:
        word = receive_order(self._line)
        if word is None:
            self._is_over = True
        elif isinstance(word, StartCommand):
            self._start(word.variables)
        elif self._command:
            os.kill(self._command, word.signal)

    def _start(self, variables: dict[str, str]) -> None:
        if self._has_own_pids:
            # Whoever forked this process is gone: by now it is the warden that is meant.
            syscalls.end_with_parent(signal.SIGKILL)
        self._command = os.fork()
        if self._command == 0:
            _become(self._spec, self._mask, {**os.environ, **variables})
        for one in self._spec.streams:
            os.close(one)

    def _reap(self) -> None:
        syscalls.read_signals(self._children)
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self._command:
                    self._command = 0
                    self._is_over = True
                    send(self._line, Ended(found[1]))

    def _look_out(self) -> None:
        """Say when there is a route out of this network."""
        assert self._route
        if pasta.has_default_route(self._route):
            self._route.close()
            send(self._line, Online())


def _become(spec: SandboxSpec, mask: Iterable[int], environment: dict[str, str]) -> NoReturn:
    """Be COMMAND; it is no business of its parent's if that cannot be."""
    code = _NOT_EXECUTABLE
    try:
        for number, stream in enumerate(spec.streams):
            os.dup2(stream, number)
        syscalls.restore_signals(mask)
        os.execvpe(spec.command[0], spec.command, environment)  # noqa: S606 - COMMAND itself
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        if _is_missing(spec.command[0], error, environment.get("PATH")):
            code, said = _NOT_FOUND, "no such command"
        with suppress(OSError):
            os.write(2, f"openimds: {spec.command[0]}: {said}\n".encode())
    finally:
        os._exit(code)


def _is_missing(name: str, error: OSError, path: str | None) -> bool:
    """Tell whether there is no such command; a folder of PATH that is closed to us is no sign."""
    if "/" in name:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return shutil.which(name, os.F_OK, path) is None


def _end_descendants() -> None:
    """End all children, and theirs as they become ours, until there are none."""
    while True:
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    own = str(os.getpid())
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - names are all we need
        with suppress(OSError), open(f"/proc/{name}/stat", encoding="latin-1") as stat:  # noqa: PTH123 - in a loop
            # The name of a process may have spaces and brackets; what follows it has none.
            if stat.read().rpartition(")")[2].split()[1] == own:
                found.append(int(name))
    return found
