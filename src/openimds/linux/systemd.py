"""The two protocols of systemd: sockets that it hands in, and what it wants to be told.

Sockets are descriptors from 3 on, as `sd_listen_fds(3)` has it: LISTEN_PID says whom they are for,
LISTEN_FDS how many there are, LISTEN_FDNAMES what the units call them. What is told is a datagram
to $NOTIFY_SOCKET, as `sd_notify(3)` has it.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

from openimds.errors import ConfigError

_FIRST = 3


def sockets(environment: Mapping[str, str], pid: int) -> list[tuple[str, socket.socket]]:
    """Return the sockets that were handed to this process, with their names; no child gets them.

    Raises:
        ConfigError: the count is none, or a socket is not there, or not one that connections come
            in by.
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
        found = socket.socket(fileno=descriptor)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise ConfigError(where, said, "a socket") from None
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.detach()
        hint = "Write ListenStream= in its unit, and not Accept=yes"
        raise ConfigError(where, "a socket that does not listen", "a listening one", hint)
    return found


class SystemdNotifier:
    """What systemd is told of this process; nothing, where it did not start it."""

    def __init__(self, environment: Mapping[str, str], pid: int = 0) -> None:
        """Find out where it wants to be told, and whether it watches the process of this id."""
        path = environment.get("NOTIFY_SOCKET", "")
        # A name without a file, of which @ stands for the first byte.
        self._to = "\0" + path[1:] if path.startswith("@") else path
        is_ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        period = environment.get("WATCHDOG_USEC", "")
        self.watched_s = int(period) / 1e6 if is_ours and period.isdecimal() else 0.0
        """After how long without a sign of life it ends the process; 0: it does not."""

    def ready(self, status: str = "") -> None:
        """Say that the start, or what was `reloading`, is done."""
        self._notify("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """Say that files are read again, until `ready`."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that this is the end."""
        self._notify("STOPPING=1")

    def alive(self) -> None:
        """Give a sign of life."""
        self._notify("WATCHDOG=1")

    def _notify(self, *lines: str) -> None:
        if not self._to:
            return
        # Who does not hear of it says so himself, in the words of systemd.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
            notice.sendto("\n".join(lines).encode(), self._to)
