"""Open a listening socket in a network namespace that has a name.

A thread enters the namespace, opens the socket there and ends; the socket stays where it was opened
and the process where it was. Where 169.254.169.254 is wanted, it is put on the `lo` of the
namespace. The machine's own namespace is refused, whatever name it has.
"""

import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

from openimds.errors import ConfigError
from openimds.linux import syscalls
from openimds.linux.loopback import IMDS, raise_loopback

FOLDER = Path("/run/netns")
"""Where `ip netns add` gives namespaces their names."""
_OWN = "/proc/self/ns/net"
_BACKLOG = 4096
T = TypeVar("T")


def listening(
    name: str, host: str, port: int, where: str
) -> tuple[socket.socket, Callable[[], bool]]:
    """Return a listening socket in a namespace, and what tells whether its name means another one.

    A namespace that was deleted lives on, unseen, for as long as its socket does: one that is made
    anew under the same name needs a new socket.

    Raises:
        ConfigError: there is no such namespace, it is our own, it must not be entered, or the
            address cannot be had there.
    """
    path = FOLDER / name
    seen = f"netns:{name}"
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = f"Type: ip netns add {name}"
        expected = "a namespace that ip netns list prints"
        raise ConfigError(where, f"{seen} ({path}: {_said(error)})", expected, hint) from None
    try:
        entered = _identity(os.fstat(namespace))
        if entered == _identity(os.stat(_OWN)):  # noqa: PTH116 - beside its twin, fstat
            seen = f"{seen}, which is the namespace of this server"
            raise ConfigError(where, seen, "that of a guest", f"Write {host}:{port}")
        try:
            bound = _in(namespace, lambda: _bound(host, port))
        except OSError as error:
            other = (f"an address that is free there, as {host}:{port} should be", "")
            expected, hint = _REASONS.get(error.errno or 0, other)
            raise ConfigError(where, f"{seen} ({_said(error)})", expected, hint) from None
    finally:
        os.close(namespace)
    return bound, lambda: _means_another(path, entered)


_BY_ROOT = (
    "Run the server as root, or let systemd open the socket: "
    "packaging/systemd/openimds-netns@.socket"
)
_REASONS = {
    errno.EPERM: ("the right to enter it (CAP_SYS_ADMIN, CAP_NET_ADMIN)", _BY_ROOT),
    errno.EACCES: ("the right to that port (CAP_NET_BIND_SERVICE)", _BY_ROOT),
    errno.EINVAL: ("a network namespace", "Type: ip netns delete, then ip netns add"),
    errno.EADDRNOTAVAIL: ("an address that is on an interface there", "Type: ip -n NAME address"),
}
"""What is expected, and what to type, by the number of the error."""


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _means_another(path: Path, entered: tuple[int, int]) -> bool:
    try:
        return _identity(path.stat()) != entered
    except OSError:  # Deleted: there is nothing else that could be entered instead.
        return False


def _in(namespace: int, work: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread that ends there.

    Raises:
        OSError: it cannot be entered, or as `work`.
    """
    done: Future[T] = Future()

    def enter() -> None:
        try:
            syscalls.enter_network(namespace)
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed over to whoever waits
            done.set_exception(error)

    Thread(target=enter, name="netns").start()
    return done.result()


def _bound(host: str, port: int) -> socket.socket:
    """Return a listening socket, where the address of the service is had if that is wanted.

    Raises:
        OSError: it cannot be had.
    """
    if host == IMDS:
        # A namespace without any address lets one bind everything, and then nobody comes.
        raise_loopback()
    return _open(host, port)


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # By name or with a zone: what the resolver makes of it is the address.
        bound.bind(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4])
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
