"""Egress of a sandbox by pasta, which forwards its traffic as the user.

pasta makes a device in the sandbox that looks like the machine's, and forwards its packets by
sockets of its own. Nothing in the sandbox can be reached from outside. Packets to 169.254.0.0/16
and 168.63.129.16 never get to pasta: the blackhole rules of the sandbox reject them before.
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
from openimds.linux.covered_file import cover

PROGRAM = "pasta"
_NOISE = "syslog"
# linux/rtnetlink.h
_IPV4_ROUTES = 0x40
_IPV6_ROUTES = 0x400
_LOOPBACK = "lo"

_NAME_SERVER = "192.0.2.53"
"""A documentation address (RFC 5737) that pasta maps to the machine's own name server."""
_RESOLV_CONF = Path("/etc/resolv.conf")


class Pasta:
    """A running pasta as its supervisor sees it."""

    def __init__(self, init_pid: int, mask: Iterable[int]) -> None:
        """Connect the network of an init process with the supervisor's.

        Raises:
            ConfigError: pasta is not installed.
        """
        command = _command(init_pid)
        self._output = os.memfd_create(PROGRAM)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _run_pasta(command, self._output, mask, parent)

    def finish(self) -> str:
        """Return a sentence about the end of pasta, with its last line of output."""
        size = os.fstat(self._output).st_size
        text = os.pread(self._output, size, 0).decode("utf-8", "replace")
        os.close(self._output)
        lines = [line for line in text.splitlines() if _NOISE not in line]
        return f"{PROGRAM} has ended, and with it egress: {lines[-1] if lines else 'no output'}"

    def end(self) -> None:
        """Kill pasta."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._output)


def _run_pasta(command: list[str], output: int, mask: Iterable[int], parent: int) -> NoReturn:
    """Replace this forked process with pasta, detached from the terminal."""
    try:
        os.setsid()
        syscalls.end_with_parent(signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        syscalls.restore_signals(mask)
        if os.getppid() == parent:
            os.execv(command[0], command)  # noqa: S606 - found on the user's own PATH
    finally:
        os._exit(1)


def find_pasta() -> str:
    """Return the path of pasta.

    Raises:
        ConfigError: pasta is not installed.
    """
    path = shutil.which(PROGRAM)
    if not path:
        raise ConfigError(
            "--net",
            f'"host" without {PROGRAM}',
            f"{PROGRAM} on the PATH",
            "Type apt-get install passt or dnf install passt; or write --net none",
        )
    return path


def _command(init_pid: int) -> list[str]:
    # No port is forwarded inward; ports of the machine's loopback appear on the sandbox's.
    ports = ["-t", "none", "-u", "none", "-T", "auto", "-U", "none"]
    # By default pasta becomes nobody, who may not enter root's namespaces.
    user = [] if os.geteuid() else ["--runas", "0"]
    dns = ["--dns-forward", _NAME_SERVER]
    options = ["--foreground", "--quiet", "--config-net", *user, *ports, *dns]
    return [find_pasta(), *options, str(init_pid)]


class RouteTable(Struct, frozen=True):
    """A routing table in /proc, and the numbers of its columns."""

    path: Path
    device: int
    to: int
    mask: int


_TABLES = (
    RouteTable(Path("/proc/self/net/route"), device=0, to=1, mask=7),
    RouteTable(Path("/proc/self/net/ipv6_route"), device=9, to=0, mask=1),
)


def watch_routes() -> socket.socket:
    """Return a socket that becomes readable when a route of this network changes."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    netlink.bind((0, _IPV4_ROUTES | _IPV6_ROUTES))
    return netlink


def has_default_route(netlink: socket.socket) -> bool:
    """Drain a watching socket, and tell whether this network has a default route."""
    with suppress(OSError):  # Lost notifications do not matter: the tables are complete.
        netlink.recv(1 << 16, socket.MSG_DONTWAIT)
    return any(map(_has_default, _TABLES))


def _has_default(table: RouteTable) -> bool:
    with suppress(OSError):
        for line in table.path.read_text("utf-8").splitlines():
            words = line.split()
            is_default = not (words[table.to] + words[table.mask]).strip("0")
            if is_default and words[table.device] != _LOOPBACK:
                return True
    return False


def redirect_name_servers() -> None:
    """Use the machine's name server through pasta, if it is out of reach.

    The replaced resolv.conf is visible in the mounts of the sandbox alone, and on no disk.

    Raises:
        OSError: it cannot be mounted.
    """
    path = _RESOLV_CONF
    text = redirected_resolv_conf(path.read_text("utf-8", "replace")) if path.exists() else ""
    if not text:
        return
    cover(_RESOLV_CONF, text)


def redirected_resolv_conf(text: str) -> str:
    """Return a resolv.conf with pasta as name server, or "" if it can stay."""
    lines = text.splitlines()
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    if any(not _is_unreachable(server) for server in servers):
        return ""
    rest = [line for line in lines if not line.startswith("nameserver ")]
    return "\n".join([*rest, f"nameserver {_NAME_SERVER}", ""])


def _is_unreachable(server: str) -> bool:
    try:
        address = ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or is_blackholed(address)
