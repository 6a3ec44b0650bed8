"""A way out of a cell: pasta carries its traffic, as the user and from the user's own network.

pasta makes a device in the cell that looks like that of the machine, takes what is sent there and
sends it again by sockets of its own. Nothing of the cell can be reached from outside, and nothing
for 169.254.0.0/16 or 168.63.129.16 comes as far as pasta: rules of the cell refuse it before.
"""

import os
import shutil
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.linux import syscalls
from openimds.linux.blackhole_rules import is_blackholed

PROGRAM = "pasta"
_NOISE = "syslog"
# linux/rtnetlink.h
_IPV4_ROUTES = 0x40
_IPV6_ROUTES = 0x400
_OWN_DEVICE = "lo"

_NAME_SERVER = "192.0.2.53"
"""Nobody's address (RFC 5737), at which pasta answers with the machine's own name server."""
_RESOLV_CONF = Path("/etc/resolv.conf")
_RESOLV_COPY = "/proc/resolv.conf"


class Pasta:
    """A pasta that runs, as its warden has it."""

    def __init__(self, first: int, mask: Iterable[int]) -> None:
        """Connect the network of a first process, by its id, with ours.

        Raises:
            ConfigError: pasta is not installed.
        """
        words = _command(first)
        self._said = os.memfd_create(PROGRAM)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _be(words, self._said, mask, parent)

    def settle(self) -> str:
        """Return a sentence about its end, with the last that it said."""
        size = os.fstat(self._said).st_size
        text = os.pread(self._said, size, 0).decode("utf-8", "replace")
        os.close(self._said)
        lines = [line for line in text.splitlines() if _NOISE not in line]
        return f"{PROGRAM} ended, and with it the way out: {lines[-1] if lines else 'no word'}"

    def end(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._said)


def _be(words: list[str], said: int, mask: Iterable[int], parent: int) -> NoReturn:
    """Be pasta, away from the terminal."""
    try:
        os.setsid()
        syscalls.end_with_parent(signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        syscalls.restore_signals(mask)
        if os.getppid() == parent:
            os.execv(words[0], words)  # noqa: S606 - found on the user's own PATH
    finally:
        os._exit(1)


def find_pasta() -> str:
    """Return where pasta is.

    Raises:
        ConfigError: it is not installed.
    """
    found = shutil.which(PROGRAM)
    if not found:
        raise ConfigError(
            "--net",
            f'"host" without {PROGRAM}',
            f"{PROGRAM} on the PATH",
            "Type apt-get install passt or dnf install passt; or write --net none",
        )
    return found


def _command(first: int) -> list[str]:
    # Nothing is let in; what listens on the machine's loopback is on that of the cell, too.
    ports = ["-t", "none", "-u", "none", "-T", "auto", "-U", "none"]
    # As nobody, which it would become, it may not enter what is root's.
    who = [] if os.geteuid() else ["--runas", "0"]
    names = ["--dns-forward", _NAME_SERVER]
    return [
        find_pasta(),
        "--foreground",
        "--quiet",
        "--config-net",
        *who,
        *ports,
        *names,
        str(first),
    ]


class RouteTable(Struct, frozen=True):
    """A table of routes in /proc, and which of its columns are what."""

    path: Path
    device: int
    to: int
    mask: int


_TABLES = (
    RouteTable(Path("/proc/self/net/route"), device=0, to=1, mask=7),
    RouteTable(Path("/proc/self/net/ipv6_route"), device=9, to=0, mask=1),
)


def watch_routes() -> socket.socket:
    """Return a socket that can be read when a route of this network changes."""
    line = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    line.bind((0, _IPV4_ROUTES | _IPV6_ROUTES))
    return line


def has_default_route(line: socket.socket) -> bool:
    """Take what a watching socket has to say, and tell whether there is a default route."""
    with suppress(OSError):  # That some of it was lost, for one; the tables have all of it.
        line.recv(1 << 16, socket.MSG_DONTWAIT)
    return any(map(_has_default, _TABLES))


def _has_default(table: RouteTable) -> bool:
    with suppress(OSError):
        for line in table.path.read_text("utf-8").splitlines():
            words = line.split()
            to_all = not (words[table.to] + words[table.mask]).strip("0")
            if to_all and words[table.device] != _OWN_DEVICE:
                return True
    return False


def redirect_name_servers() -> None:
    """Ask the machine's name server through pasta, if the cell cannot reach it by its address.

    The file that says so is seen in the mounts of the cell alone, and stands on no disk.

    Raises:
        OSError: it cannot be put there.
    """
    text = (
        redirected_resolv_conf(_RESOLV_CONF.read_text("utf-8", "replace"))
        if _RESOLV_CONF.exists()
        else ""
    )
    if not text:
        return
    syscalls.mount("tmpfs", "/proc", "tmpfs", syscalls.NO_SUID | syscalls.NO_DEV)
    try:
        Path(_RESOLV_COPY).write_text(text, "utf-8")
        syscalls.mount(_RESOLV_COPY, str(_RESOLV_CONF), "", syscalls.BIND)
    finally:
        syscalls.unmount("/proc")


def redirected_resolv_conf(text: str) -> str:
    """Return the text of resolv.conf with pasta as name server; nothing if it is good as it is."""
    lines = text.splitlines()
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    if any(not _is_out_of_reach(one) for one in servers):
        return ""
    rest = [line for line in lines if not line.startswith("nameserver ")]
    return "\n".join([*rest, f"nameserver {_NAME_SERVER}", ""])


def _is_out_of_reach(server: str) -> bool:
    try:
        found = ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return found.is_loopback or is_blackholed(found)
