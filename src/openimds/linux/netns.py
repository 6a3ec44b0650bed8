"""Open a listening socket in a network namespace that has a name.

A thread enters the namespace, opens the socket there and ends; the socket stays where it was opened
and the process where it was. 169.254.169.254 is put on the `lo` of the namespace if it is on no
interface there. The machine's own namespace is refused, whatever name it has.
"""

import errno
import os
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import Future
from ctypes import CDLL, get_errno
from pathlib import Path
from threading import Thread
from typing import TypeVar

from openimds.errors import ConfigError

FOLDER = Path("/run/netns")
"""Where `ip netns add` gives namespaces their names."""
ADDRESS = "169.254.169.254"
_OWN = "/proc/self/ns/net"
_CLONE_NEWNET = 0x40000000
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


_BY_SYSTEMD = "packaging/systemd/openimds-netns@.socket"
_REASONS = {
    errno.EPERM: (
        "the right to enter it (CAP_SYS_ADMIN)",
        f"Run the server as root, or let systemd open the socket: {_BY_SYSTEMD}",
    ),
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
            _enter(namespace)
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed over to whoever waits
            done.set_exception(error)

    Thread(target=enter, name="netns").start()
    return done.result()


def _enter(namespace: int) -> None:
    """Put this thread into a namespace; `os.setns` is there from Python 3.12 on.

    Raises:
        OSError: it is none, or must not be entered.
    """
    if CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(get_errno(), os.strerror(get_errno()))


def _bound(host: str, port: int) -> socket.socket:
    """Return a listening socket, and have the address of the service if it is that one.

    Raises:
        OSError: it cannot be had.
    """
    try:
        return _open(host, port)
    except OSError as error:
        if host != ADDRESS or error.errno != errno.EADDRNOTAVAIL:
            raise
    # What this thread starts is in its namespace too.
    for words in (
        ("address", "replace", f"{ADDRESS}/32", "dev", "lo"),
        ("link", "set", "lo", "up"),
    ):
        tried = subprocess.run(  # noqa: S603 - words of our own
            ["ip", *words],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.returncode:
            raise OSError(0, f"ip {' '.join(words)}: {tried.stderr.strip()}")
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
    text = (error.strerror or str(error)).lower()
    return f"{error.filename}: {text}" if error.filename == "ip" else text
