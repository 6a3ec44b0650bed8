"""Make this Python lack what another system lacks: imported at the start of each interpreter.

It is no Windows and no macOS: files, sockets and processes are Linux's. Only names are gone, and
`sys.platform` is another, so that code which takes a name for granted ends in a traceback. The
libraries of others have code of their own for each system; they are loaded before, as are the
parts of the standard library that choose by platform.
"""

import asyncio.unix_events
import io
import os
import selectors
import signal
import socket
import sys
import time
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

SYSTEM = os.environ.get("PRETENDED_SYSTEM", "")
_LOADED = (
    "anyio._backends._asyncio",
    "click.testing",
    "concurrent.futures.thread",
    "cryptography.x509",
    "ctypes",
    "email.mime.text",
    "getpass",
    "httptools",
    "importlib.metadata",
    "jwt",
    "logging.config",
    "msgspec.json",
    "multiprocessing.connection",
    "platform",
    "prometheus_client",
    "pytest",
    "_pytest.pytester",
    "rich.console",
    "rich.table",
    "sqlite3",
    "sse_starlette",
    "ssl",
    "starlette.applications",
    "subprocess",
    "tempfile",
    "urllib.request",
    "uuid",
    "uvicorn.protocols.http.httptools_impl",
    "yaml",
    "zoneinfo",
)
_LINUX_NAMES: dict[Any, tuple[str, ...]] = {
    os: (
        "copy_file_range",
        "eventfd",
        "memfd_create",
        "pipe2",
        "posix_fadvise",
        "sched_getaffinity",
        "sched_setaffinity",
        "setns",
        "splice",
        "unshare",
    ),
    socket: ("AF_NETLINK", "AF_PACKET", "AF_VSOCK", "SO_BINDTODEVICE", "SOCK_CLOEXEC"),
    signal: ("SIGPWR", "SIGSTKFLT"),
}
_POSIX_NAMES: dict[Any, tuple[str, ...]] = {
    os: (
        "O_CLOEXEC",
        "O_DIRECTORY",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "WIFSIGNALED",
        "WNOHANG",
        "WTERMSIG",
        "chown",
        "fchmod",
        "fchown",
        "fork",
        "forkpty",
        "getegid",
        "geteuid",
        "getgid",
        "getpgid",
        "getpgrp",
        "getpriority",
        "getuid",
        "killpg",
        "openpty",
        "set_blocking",
        "setpgid",
        "setpriority",
        "setsid",
        "tcgetpgrp",
        "tcsetpgrp",
        "uname",
        "wait",
        "waitid",
    ),
    socket: ("AF_UNIX", "SO_REUSEPORT", "recv_fds", "send_fds"),
    signal: (
        "SIGALRM",
        "SIGBUS",
        "SIGCHLD",
        "SIGCONT",
        "SIGHUP",
        "SIGKILL",
        "SIGPIPE",
        "SIGQUIT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGUSR1",
        "SIGUSR2",
        "SIGWINCH",
        "SIG_BLOCK",
        "SIG_SETMASK",
        "SIG_UNBLOCK",
        "pthread_sigmask",
        "setitimer",
        "sigwait",
    ),
    selectors: ("DevpollSelector", "EpollSelector", "PollSelector"),
    time: ("clock_gettime", "CLOCK_MONOTONIC"),
}
_POSIX_MODULES = ("fcntl", "grp", "pwd", "pty", "resource", "syslog", "termios", "tty", "uvloop")


def _remove(names: dict[Any, tuple[str, ...]]) -> None:
    for module, listed in names.items():
        for name in listed:
            if hasattr(module, name):
                delattr(module, name)


def _refuse(*_: object, **__: object) -> None:
    raise NotImplementedError


class _Msvcrt:
    """The lock of Windows: exclusive, on a range of bytes, released with the file."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self._fcntl = import_module("fcntl")

    def locking(self, descriptor: int, mode: int, size: int) -> None:
        """Lock bytes from the position of the file on; raise OSError if another has them."""
        assert (mode, size) == (self.LK_NBLCK, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1000  # The text stays readable.
        self._fcntl.flock(descriptor, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)


def _become_windows() -> None:
    modules: dict[str, Any] = sys.modules
    modules["msvcrt"] = _Msvcrt()
    vars(io)["_WindowsConsoleIO"] = _Msvcrt  # pytest compares streams with it.
    # A pair of TCP sockets in its newer versions; of unix sockets here.
    vars(socket)["socketpair"] = partial(socket.socketpair, socket.AF_UNIX)
    _remove(_POSIX_NAMES)
    for name in _POSIX_MODULES:
        modules[name] = None
    loop: Any = asyncio.unix_events._UnixSelectorEventLoop
    for name in ("add_signal_handler", "create_unix_server", "subprocess_exec"):
        setattr(loop, name, _refuse)
    loop.__init__ = _with_select(loop.__init__)


def _with_select(original: Any) -> Any:
    def init(self: Any, selector: Any = None) -> None:
        original(self, selector or selectors.SelectSelector())

    return init


if SYSTEM:
    for loaded in _LOADED:
        import_module(loaded)
    if find_spec("schemathesis"):  # pytest loads its plugin, which imports this.
        import_module("starlette.testclient")
    _remove(_LINUX_NAMES)
    if SYSTEM == "win32":
        _become_windows()
    sys.platform = SYSTEM
