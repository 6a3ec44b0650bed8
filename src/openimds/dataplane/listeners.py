"""The sockets of the data plane.

A listener is written `HOST:PORT`, `[IPV6]:PORT`, `unix:/path` or `netns:NAME`, which is
169.254.169.254:80 in the network namespace of that name (`netns:NAME@HOST:PORT` is another address
there). A listener that belongs to a VM treats every caller as that VM.
"""

import asyncio
import errno
import os
import socket
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from msgspec import Struct

from openimds.dataplane.arrivals import EVERY_CALLER_IS_NEAR, REAL_ADDRESSES, arrival_rule
from openimds.dataplane.reactor import Reactor
from openimds.dataplane.saved_syn import bound_half_open, save_first_packets
from openimds.errors import FREE_RESOURCES, MORE_RESOURCES, ConfigError, shortage
from openimds.fleet.index import VM_LISTENER

_IS_LINUX = sys.platform == "linux"
_BACKLOG = 4096
_DEFERRED_S = 1
"""The time in the kernel of a connection without bytes."""
_UNIX = "unix:"
_NETNS = "netns:"
_NETNS_ADDRESS = ("169.254.169.254", 80)
_FOREIGN = errno.EADDRNOTAVAIL
_TRANSPARENT = getattr(socket, "IP_TRANSPARENT", 19)
_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14
_NO_INTERFACE = (
    "Type openimds host up and serve as root, or let systemd open it with Transparent=yes"
)
_LARGEST_PORT = 65535
_HINTS = {
    errno.EADDRINUSE: "Write another port; port 0 is any free one",
    errno.EPERM: _NO_INTERFACE,
    errno.EACCES: "Write a port of 1024 or above; those below need the capability NET_BIND_SERVICE",
}
"""Remedies for an address that cannot be bound."""


class Tcp(Struct, frozen=True):
    """A TCP address; port 0 stands for any free port."""

    host: str
    port: int


class Unix(Struct, frozen=True):
    """The path of a unix socket."""

    path: str


class Netns(Struct, frozen=True):
    """A TCP address in the network namespace that has this name under /run/netns."""

    name: str
    host: str
    port: int


IsStale: TypeAlias = Callable[[], bool]
"""Tells whether the namespace was replaced by another of its name, so no caller reaches it."""
Enter: TypeAlias = Callable[[Netns, str], tuple[socket.socket, IsStale]]
"""Opens a socket in a namespace, which takes privilege; raises ConfigError if it cannot."""


def address(text: str, where: str) -> Tcp | Unix | Netns:
    """Parse the text of a listener; `where` is its key path for the error.

    Raises:
        ConfigError: the text is not an address.
    """
    if not text.isprintable():
        # System calls reject such text, but not with OSError.
        raise ConfigError(where, ascii(text), "an address of printable characters")
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path.startswith("/"):
            raise ConfigError(where, f'"{text}"', "unix: and an absolute path", "Write unix:/path")
        return Unix(path)
    if text.startswith(_NETNS):
        name, at, rest = text.removeprefix(_NETNS).partition("@")
        host, port = _tcp(rest) if at else _NETNS_ADDRESS
        if not host or "/" in name or name in ("", ".", ".."):
            expected = "netns:NAME or netns:NAME@HOST:PORT"
            hint = "ip netns list prints the names of namespaces"
            raise ConfigError(where, f'"{text}"', expected, hint)
        return Netns(name, host, port)
    host, port = _tcp(text)
    if not host:
        expected = "HOST:PORT, [IPV6]:PORT, unix:/path or netns:NAME"
        raise ConfigError(where, f'"{text}"', expected, "Write 127.0.0.1:8169")
    return Tcp(host, port)


def _tcp(text: str) -> tuple[str, int]:
    """Return host and port, or an empty host if the text is not an address."""
    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT
    has_both = host.startswith("[") == host.endswith("]")
    if not (colon and is_port and has_both and _is_name(host)):
        return "", 0
    return host.removeprefix("[").removesuffix("]"), int(port)


def _is_name(host: str) -> bool:
    """Tell whether a resolver accepts a host name: no label is empty or too long."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


class Listener(Struct, frozen=True):
    """An open listener: one socket, or one for each address of its host name.

    `url` is an `http` URL with the real port, or `unix:` and the path; `text` is the configured
    address, or empty for an inherited socket. `own` names the VM that every caller is, as in
    `FleetIndex.entry_of`, or is empty. A listener in a network namespace is stale as soon as the
    namespace is replaced by another of its name.
    """

    reactor: Reactor
    sockets: tuple[socket.socket, ...]
    url: str
    text: str = ""
    path: str = ""
    is_stale: IsStale = lambda: False
    own: str = ""

    def close(self) -> None:
        """Stop accepting connections; open ones stay open."""
        for bound in self.sockets:
            self.reactor.close_listener(bound)
        if self.path and os.path.exists(self.path):  # noqa: PTH110 - one call, at the end
            os.unlink(self.path)  # noqa: PTH108 - as above


def bound_address(listener: Listener, text: str) -> str:
    """Return the text of an open listener with its real port instead of 0."""
    is_tcp = isinstance(address(text, ""), Tcp)
    return listener.url.removeprefix("http://") if is_tcp else text


def _cannot_enter(wanted: Netns, where: str) -> tuple[socket.socket, IsStale]:
    expected = "HOST:PORT or unix:/path (this process cannot open network namespaces)"
    raise ConfigError(where, f"{_NETNS}{wanted.name}", expected)


async def listen(  # noqa: PLR0913 - the facts of a listener
    reactor: Reactor,
    text: str,
    where: str,
    *,
    is_own: bool = False,
    enter: Enter = _cannot_enter,
    at: str = "",
) -> Listener:
    """Open one listener; with `is_own` it belongs to the VM that claims its text.

    `at` is the previous address of a listener that is opened again; its text may have port 0.

    Raises:
        ConfigError: the text is not an address, or the address cannot be bound.
    """
    wanted = address(at or text, where)
    own = text if is_own else ""
    try:
        if isinstance(wanted, Netns):
            bound, is_stale = await asyncio.to_thread(enter, wanted, where)
            return _serve(reactor, [bound], own, text, is_stale=is_stale)
        if isinstance(wanted, Unix):
            _free(wanted.path)
            family = getattr(socket, "AF_UNIX")  # noqa: B009 - Windows has no such name
            return _serve(reactor, [_bound(family, wanted.path)], own, text, path=wanted.path)
        return _serve(reactor, await _bound_to_all(wanted), own, text, can_be_page=True)
    except (OSError, ImportError, RuntimeError) as error:
        if lack := shortage(error):
            seen = f"{text} ({(lack.strerror or str(lack)).lower()})"
            raise ConfigError(where, seen, FREE_RESOURCES, MORE_RESOURCES) from None
        if not isinstance(error, OSError):
            raise
        raise _unavailable(text, where, error) from None


async def _bound_to_all(wanted: Tcp) -> list[socket.socket]:
    """Return a socket for each address of a host name.

    Raises:
        OSError: there is none, or one cannot be bound.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        wanted.host, wanted.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, place in dict.fromkeys(found):
            sockets.append(_bound(family, place))
    except OSError:
        for bound in sockets:
            bound.close()
        raise
    return sockets


def _bound(family: int, place: Any) -> socket.socket:  # noqa: ANN401 - a path, or a tuple of a family
    """Return a socket that is bound.

    Raises:
        OSError: the system refuses.
    """
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != getattr(socket, "AF_UNIX", None) and os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Each family has a socket of its own; the systems differ in their default.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _bind(bound, place)
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _bind(bound: socket.socket, place: Any) -> None:  # noqa: ANN401 - as in `_bound`
    """Bind a socket, also to the service's address while it is on no interface.

    Then only packets with the mark of the host rules are led to it, which keeps guests out while
    there are no rules. The kernel asks for NET_ADMIN over the network for such a socket.

    Raises:
        OSError: the system refuses.
    """
    try:
        bound.bind(place)
    except OSError as error:
        is_ours = bound.family == socket.AF_INET and place[0] in REAL_ADDRESSES
        if error.errno != _FOREIGN or not (is_ours and _IS_LINUX):
            raise
        bound.setsockopt(socket.IPPROTO_IP, _TRANSPARENT, 1)
        bound.bind(place)


def is_guarded(bound: socket.socket) -> bool:
    """Tell whether only packets that the host rules accept may reach a socket."""
    if not _IS_LINUX or bound.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    host = str(bound.getsockname()[0]).partition("%")[0]
    if host not in REAL_ADDRESSES:
        return False
    return bound.family == socket.AF_INET6 or bool(
        bound.getsockopt(socket.IPPROTO_IP, _TRANSPARENT)
    )


def cannot_answer(bound: socket.socket) -> bool:
    """Tell whether a socket cannot send from its address, which is on no interface.

    It can if it is transparent; see `_bind`. A socket of another network namespace is not judged.
    """
    if not _IS_LINUX or bound.family != socket.AF_INET or is_guarded(bound):
        return False
    host = bound.getsockname()[0]
    if host not in REAL_ADDRESSES:
        return False
    with socket.socket() as probe:
        try:
            if _namespace(probe) != _namespace(bound):
                return False
            probe.bind((host, 0))
        except OSError as error:
            return error.errno == _FOREIGN
    return False


def _namespace(opened: socket.socket) -> bytes:
    """Return the number of a socket's network namespace.

    Raises:
        OSError: this kernel does not tell it.
    """
    return opened.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8)


def _unavailable(text: str, where: str, error: OSError) -> ConfigError:
    """Return the error for an address that cannot be bound."""
    number = error.errno or 0
    hint = _HINTS.get(number, "")
    # asyncio's own text repeats the address.
    reason = os.strerror(number).lower() if hint else error.strerror or str(error)
    return ConfigError(where, f"{text} ({reason})", "an address that is free here", hint)


def listen_on(
    reactor: Reactor, bound: socket.socket, vm: str = "", *, is_in_sandbox: bool = False
) -> Listener:
    """Serve an inherited socket that is already bound; with `vm`, it belongs to that VM.

    The file of an inherited unix socket is not removed. No web page reaches a sandbox.
    """
    bound.listen(_BACKLOG)
    own = VM_LISTENER + vm if vm else ""
    return _serve(reactor, [bound], own, can_be_page=not is_in_sandbox, is_in_sandbox=is_in_sandbox)


def _serve(  # noqa: PLR0913 - the facts of a listener
    reactor: Reactor,
    sockets: list[socket.socket],
    own: str,
    text: str = "",
    *,
    path: str = "",
    is_stale: IsStale = lambda: False,
    can_be_page: bool = False,
    is_in_sandbox: bool = False,
) -> Listener:
    """Serve bound sockets; close all of them if that fails.

    With `can_be_page` web pages may reach them; see `arrivals`.

    Raises:
        OSError: the system refuses.
    """
    url = _url(sockets[0])
    try:
        for bound in sockets:
            if not url.startswith(_UNIX):
                # Connections inherit it: no part of a response waits for an acknowledgement.
                bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _defer(bound)
            is_behind_rules = is_guarded(bound) and not own
            if is_behind_rules:
                save_first_packets(bound)
                bound_half_open(bound)
            rule = EVERY_CALLER_IS_NEAR
            if not is_in_sandbox:
                checks_hosts = can_be_page and reactor.dispatcher.checks_hosts
                rule = arrival_rule(bound, can_be_page=can_be_page, checks_hosts=checks_hosts)
            reactor.listen(bound, own, is_guarded=is_behind_rules, rule=rule)
    except OSError:
        for bound in sockets:
            reactor.close_listener(bound)
        raise
    return Listener(reactor, tuple(sockets), url, text, path, is_stale, own)


def _defer(bound: socket.socket) -> None:
    """Have the kernel show a connection once its first bytes have come, on Linux.

    Then accepting and reading are one step, and a connection that is reset before it asked costs
    no turn. One without bytes is shown after `_DEFERRED_S`, and has a deadline and a place then.
    """
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        # Sandboxes that stand in for the kernel may not have it; nothing depends on it.
        with suppress(OSError):
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFERRED_S)


def _url(socket_: socket.socket) -> str:
    bound = socket_.getsockname()
    if not isinstance(bound, tuple):
        return _UNIX + str(bound)
    host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return f"http://{host}:{bound[1]}"


def _free(path: str) -> None:
    """Remove a socket file without a listener.

    Raises:
        OSError: a server listens on it, the file is not a socket, or this system has none.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(0, "this system has no unix sockets")
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as for sockets elsewhere in os
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(0, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise FileExistsError(0, "another server listens there")
    os.unlink(path)  # noqa: PTH108 - as above
