"""Two protocols of systemd: socket activation and service notifications.

Sockets are descriptors from 3 on (`sd_listen_fds(3)`): LISTEN_PID is their receiver, LISTEN_FDS
their number, LISTEN_FDNAMES has their names in the units. A notification is a datagram to
$NOTIFY_SOCKET (`sd_notify(3)`).
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from openimds.errors import ConfigError

_FIRST = 3
_PATIENCE_S = 2.0
"""The longest wait for a place in the queue of systemd, which holds few notifications."""


def sockets(environment: Mapping[str, str], pid: int) -> list[tuple[str, socket.socket]]:
    """Return the sockets that systemd passed to this process, with their names.

    Children do not inherit them.

    Raises:
        ConfigError: the count is not a number, or a descriptor is not a listening socket.
    """
    if environment.get("LISTEN_PID") != str(pid):
        return []
    count = environment.get("LISTEN_FDS", "0")
    if not (count.isascii() and count.isdecimal()):
        raise ConfigError("LISTEN_FDS", f'"{count}"', "the number of sockets")
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * int(count)
    return [(names[i], _listening(_FIRST + i, names[i])) for i in range(int(count))]


def _listening(descriptor: int, name: str) -> socket.socket:
    where = f"LISTEN_FDS: descriptor {descriptor}" + (f" ({name})" if name else "")
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no name
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(where, reason, "a socket") from None
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()
        hint = "Write ListenStream= in its unit, and leave out Accept=yes"
        raise ConfigError(where, "a socket that does not listen", "a listening socket", hint)
    return listener


class SystemdNotifier:
    """Notifies systemd of the state of this process, if systemd started it.

    Its socket stays open: without a file descriptor for a new one, the watchdog would end a process
    that serves.
    """

    def __init__(self, environment: Mapping[str, str], pid: int = 0) -> None:
        """Read the notification socket and the watchdog period for the process of an id."""
        path = environment.get("NOTIFY_SOCKET", "")
        # An abstract socket: @ stands for a null byte.
        self._to = "\0" + path[1:] if path.startswith("@") else path
        self._sender: socket.socket | None = None
        is_ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        period = environment.get("WATCHDOG_USEC", "")
        self.watched_s = int(period) / 1e6 if is_ours and period.isdecimal() else 0.0
        """The watchdog period, in seconds; 0: systemd does not watch this process."""

    def ready(self, status: str = "") -> None:
        """Notify that the start or the reload is complete."""
        self._notify("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """Notify that a reload begins; `ready` ends it."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Notify that the process is stopping, as the last notification."""
        self._notify("STOPPING=1")
        if self._sender:
            self._sender.close()
            self._sender = None

    def alive(self) -> None:
        """Reset the watchdog, without waiting: guests are served on while systemd reads nothing."""
        self._notify("WATCHDOG=1", patience_s=0.0)

    def _notify(self, *lines: str, patience_s: float = _PATIENCE_S) -> None:
        if not self._to:
            return
        # systemd itself reports a notification that it misses.
        with suppress(OSError):
            self._sender = self._sender or socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sender.settimeout(patience_s)
            self._sender.sendto("\n".join(lines).encode(), self._to)
