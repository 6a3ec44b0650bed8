"""The init process of a sandbox: makes it, opens its sockets, starts COMMAND, and waits."""

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
from openimds.linux.covered_file import hide_mounts
from openimds.linux.hosts_file import map_hosts
from openimds.linux.loopback import IMDS, raise_loopback
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


class _UnboundError(Exception):
    """A socket cannot be opened in the sandbox; the text has the reason."""


def run_init(
    spec: SandboxSpec, channel: socket.socket, mask: Iterable[int], *, has_own_pids: bool
) -> NoReturn:
    """Make a sandbox in this forked process, and exit when it ends.

    `mask` are the signals to block in COMMAND: those that the user had blocked.
    """
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        _make(spec, channel, mask, has_own_pids=has_own_pids)
    except NamespaceError as error:
        send(channel, Refused(str(error)))
    except _UnboundError as error:
        send(channel, Refused(str(error), is_final=True))
    except BaseException as error:  # noqa: BLE001 - the supervisor reports it
        text = f"internal error in the sandbox {spec.name}: {error!r}; please report it"
        send(channel, Refused(text, is_final=True))
    finally:
        os._exit(0)


def _make(
    spec: SandboxSpec, channel: socket.socket, mask: Iterable[int], *, has_own_pids: bool
) -> None:
    # pasta may enter only networks of a user namespace that its user made, even if that is root.
    unshare = _unshare_with_users if spec.is_online else unshare_namespaces
    if has_own_pids:
        has_new_users = unshare(syscalls.NEW_NET | syscalls.NEW_PIDS | syscalls.NEW_MOUNTS)
        if child := os.fork():
            send(channel, InitStarted(child))
            return
    else:
        # The init process finds its descendants in /proc, and COMMAND its token.
        if os.readlink("/proc/self") != str(os.getpid()):  # noqa: PTH115 - a name, not a path
            raise NamespaceError(
                f"{UNAVAILABLE}: /proc shows the processes of another namespace; mount a /proc of "
                "this one"
            )
        has_new_users = unshare(syscalls.NEW_NET | (syscalls.NEW_MOUNTS if spec.hosts else 0))
        syscalls.adopt_orphans()
        send(channel, InitStarted(os.getpid()))
    try:
        _mount(spec, has_own_pids=has_own_pids)
        raise_loopback({IMDS, *(host for host, _ in spec.listen)})
        if spec.is_online:
            add_blackhole_rules()
    except OSError as error:
        raise refusal(error) from None
    routes = pasta.watch_routes() if spec.is_online else None
    sockets = [_listen(host, port) for host, port in spec.listen]
    if has_own_pids and spec.is_online:
        with suppress(OSError):  # Then COMMAND uses the machine's resolv.conf.
            pasta.redirect_name_servers()
    if has_new_users and os.geteuid():
        # COMMAND has no capabilities, and cannot read /proc of a process that has some.
        syscalls.drop_capabilities()
    send(channel, Opened("/proc/1" if has_own_pids else f"/proc/{os.getpid()}"), sockets)
    for item in sockets:
        item.close()
    _InitProcess(spec, channel, mask, routes, has_own_pids=has_own_pids).run()


def _mount(spec: SandboxSpec, *, has_own_pids: bool) -> None:
    """Mount what only this sandbox sees: a /proc of its processes, and its hosts file."""
    if has_own_pids or spec.hosts:
        hide_mounts()
    if has_own_pids:
        syscalls.mount("proc", "/proc", "proc", _DEVICES)
    if spec.hosts:
        map_hosts(spec.hosts)


def _unshare_with_users(flags: int) -> bool:
    unshare_users(flags)
    return True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _UnboundError(f"cannot listen on {host}:{port} in the sandbox: {reason}") from None


class _InitProcess:
    """The event loop of the init process, once the sandbox is made."""

    def __init__(
        self,
        spec: SandboxSpec,
        channel: socket.socket,
        mask: Iterable[int],
        routes: socket.socket | None,
        *,
        has_own_pids: bool,
    ) -> None:
        self._spec, self._channel, self._mask, self._routes = spec, channel, mask, routes
        self._has_own_pids = has_own_pids
        self._children = syscalls.signal_fd([signal.SIGCHLD])
        self._command = 0
        self._is_over = False

    def run(self) -> None:
        """Obey the supervisor until COMMAND or the supervisor has ended; then end all processes."""
        try:
            self._loop()
        finally:
            if not self._has_own_pids:
                _end_descendants()

    def _loop(self) -> None:
        handlers: dict[int, Callable[[], None]] = {
            self._channel.fileno(): self._obey,
            self._children: self._reap,
        }
        if self._routes:
            handlers[self._routes.fileno()] = self._check_routes
        poll = select.poll()
        for descriptor in handlers:
            poll.register(descriptor, select.POLLIN)
        while not self._is_over:
            for descriptor, _ in poll.poll():
                handlers[descriptor]()
                if self._routes and self._routes.fileno() < 0:
                    poll.unregister(descriptor)
                    self._routes = None

    def _obey(self) -> None:
        order = receive_order(self._channel)
        if order is None:
            self._is_over = True
        elif isinstance(order, StartCommand):
            self._start(order.variables)
        elif self._command:
            os.kill(self._command, order.signal)

    def _start(self, variables: dict[str, str]) -> None:
        if self._has_own_pids:
            # The process that forked this one has ended: the supervisor is the parent now.
            syscalls.end_with_parent(signal.SIGKILL)
        self._command = os.fork()
        if self._command == 0:
            _run_command(self._spec, self._mask, {**os.environ, **variables})
        for descriptor in self._spec.streams:
            os.close(descriptor)

    def _reap(self) -> None:
        syscalls.read_signals(self._children)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._command:
                    self._command = 0
                    self._is_over = True
                    send(self._channel, Ended(ended[1]))

    def _check_routes(self) -> None:
        """Report egress once this network has a default route."""
        assert self._routes
        if pasta.has_default_route(self._routes):
            self._routes.close()
            send(self._channel, Online())


def _run_command(spec: SandboxSpec, mask: Iterable[int], environment: dict[str, str]) -> NoReturn:
    """Replace this process with COMMAND.

    On failure, print the reason to stderr and exit with 126 or 127.
    """
    code = _NOT_EXECUTABLE
    try:
        for number, stream in enumerate(spec.streams):
            os.dup2(stream, number)
        syscalls.restore_signals(mask)
        os.execvpe(spec.command[0], spec.command, environment)  # noqa: S606 - COMMAND itself
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        if _is_missing(spec.command[0], error, environment.get("PATH")):
            code, reason = _NOT_FOUND, "no such command"
        with suppress(OSError):
            os.write(2, f"openimds: {spec.command[0]}: {reason}\n".encode())
    finally:
        os._exit(code)


def _is_missing(name: str, error: OSError, path: str | None) -> bool:
    """Tell whether there is no such command, unreadable folders of PATH aside."""
    if "/" in name:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return shutil.which(name, os.F_OK, path) is None


def _end_descendants() -> None:
    """Kill all children, and their children as they become ours, until none is left."""
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
    children = []
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - names are all we need
        with suppress(OSError), open(f"/proc/{name}/stat", encoding="latin-1") as stat:  # noqa: PTH123 - in a loop
            # A process name may contain spaces and brackets; the fields after it do not.
            if stat.read().rpartition(")")[2].split()[1] == own:
                children.append(int(name))
    return children
