"""Open listening sockets in named network namespaces.

A thread enters the namespace, opens the socket and ends: the socket stays in the namespace, the
process outside. If 169.254.169.254 or 169.254.169.253 is wanted, it is put on the `lo` of the
namespace. The machine's own namespace is refused under any name.
"""

import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

from openimds.errors import FREE_RESOURCES, MORE_RESOURCES, ConfigError, shortage
from openimds.linux import syscalls
from openimds.linux.loopback import LINK_LOCAL, raise_loopback
from openimds.linux.platform import IS_LINUX

FOLDER = Path("/run/netns")
"""The folder in which `ip netns add` names namespaces."""
_OWN = "/proc/self/ns/net"
_BACKLOG = 4096
T = TypeVar("T")


def listening(
    name: str, host: str, port: int, where: str
) -> tuple[socket.socket, Callable[[], bool]]:
    """Return a socket that listens in a namespace, and a test for a replaced namespace.

    The test tells whether the name now means another namespace. A deleted namespace lives on,
    unseen, as long as its socket: a new one under the same name needs a new socket.

    Raises:
        ConfigError: the namespace is missing, is this server's own, or may not be entered; or the
            address cannot be bound in it.
    """
    path = FOLDER / name
    seen = f"netns:{name}"
    if not IS_LINUX:
        raise ConfigError(where, seen, "HOST:PORT: only Linux has network namespaces")
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        other = ("a namespace that ip netns list prints", f"Type ip netns add {name}")
        expected, hint = _expectation(error, other)
        raise ConfigError(where, f"{seen} ({path}: {_reason(error)})", expected, hint) from None
    try:
        identity = _identity(os.fstat(namespace))
        if identity == _identity(os.stat(_OWN)):  # noqa: PTH116 - beside its twin, fstat
            seen = f"{seen}, which is the namespace of this server"
            raise ConfigError(where, seen, "that of a guest", f"Write {host}:{port}")
        try:
            listener = _run_in(namespace, lambda: _listen(host, port))
        except OSError as error:
            other = (f"{host}:{port} to be free in it", "")
            expected, hint = _expectation(error, other)
            raise ConfigError(where, f"{seen} ({_reason(error)})", expected, hint) from None
    finally:
        os.close(namespace)
    return listener, lambda: _is_replaced(path, identity)


_BY_ROOT = (
    "Run the server as root, or let systemd open the socket: "
    "packaging/systemd/openimds-netns@.socket"
)
_REASONS = {
    errno.EPERM: ("the right to enter it (CAP_SYS_ADMIN, CAP_NET_ADMIN)", _BY_ROOT),
    errno.EACCES: ("the right to that port (CAP_NET_BIND_SERVICE)", _BY_ROOT),
    errno.EINVAL: ("a network namespace", "Type ip netns delete NAME and ip netns add NAME"),
    errno.EADDRNOTAVAIL: ("an address of an interface in it", "Type ip -n NAME address"),
}
"""By errno: the expectation and the hint."""


def _expectation(error: OSError, other: tuple[str, str]) -> tuple[str, str]:
    """Return the expectation and the hint for an error; `other` is for unusual ones."""
    if shortage(error):
        return FREE_RESOURCES, MORE_RESOURCES
    return _REASONS.get(error.errno or 0, other)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_replaced(path: Path, identity: tuple[int, int]) -> bool:
    try:
        return _identity(path.stat()) != identity
    except OSError:  # Deleted, and no other namespace has its name.
        return False


def _run_in(namespace: int, job: Callable[[], T]) -> T:
    """Run a job in a namespace, in a thread that ends there.

    Raises:
        OSError: the namespace cannot be entered, or as `job`.
    """
    future: Future[T] = Future()

    def enter() -> None:
        try:
            syscalls.enter_network(namespace)
            future.set_result(job())
        except BaseException as error:  # noqa: BLE001 - re-raised by `result`
            future.set_exception(error)

    Thread(target=enter, name="netns").start()
    return future.result()


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, after putting a metadata address on `lo` if it is one.

    Raises:
        OSError: the address cannot be bound.
    """
    if host in LINK_LOCAL:
        # A namespace without any address lets a socket bind the address, but no packet reaches it.
        raise_loopback((host,))
    return _open(host, port)


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # The host may be a name or have a zone: the resolver returns the address.
        listener.bind(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4])
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
