"""Open the sockets of the data plane.

A listener is written `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`. One that belongs to a VM answers
everybody who reaches it as that VM.
"""

import asyncio
import os
import socket
import stat

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.view.picture import VM
from openimds.wire.conversation import Conversation
from openimds.wire.plane import Plane

_BACKLOG = 4096
_UNIX = "unix:"
_LARGEST_PORT = 65535


class Tcp(Struct, frozen=True):
    """A TCP address; port 0 takes a free one."""

    host: str
    port: int


class Unix(Struct, frozen=True):
    """The path of a unix socket."""

    path: str


def address(text: str, where: str) -> Tcp | Unix:
    """Return the address that a listener's text means.

    Raises:
        ConfigError: it is none.
    """
    expected = "HOST:PORT, [IPV6]:PORT or unix:/path"
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if not path.startswith("/"):
            raise ConfigError(where, f'"{text}"', "unix: and an absolute path", "Write unix:/path")
        return Unix(path)
    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT
    has_both = host.startswith("[") == host.endswith("]")
    if not (colon and host and is_port and has_both):
        raise ConfigError(where, f'"{text}"', expected, "Write 127.0.0.1:8169")
    return Tcp(host.removeprefix("[").removesuffix("]"), int(port))


class Listener(Struct, frozen=True):
    """An open socket: its server, and its URL or `unix:` path with the port that it really has."""

    server: asyncio.Server
    url: str
    path: str = ""

    def close(self) -> None:
        """Stop taking connections; those that are open live on."""
        self.server.close()
        if self.path and os.path.exists(self.path):  # noqa: PTH110 - one call, at the end
            os.unlink(self.path)  # noqa: PTH108 - as above


async def listen(plane: Plane, text: str, where: str, *, is_own: bool = False) -> Listener:
    """Open one listener; one of its own answers everybody as the VM that the picture says.

    Raises:
        ConfigError: the text is no address, or the address cannot be had.
    """
    wanted = address(text, where)
    loop = asyncio.get_running_loop()
    own = text if is_own else ""
    try:
        if isinstance(wanted, Unix):
            _free(wanted.path)
            server = await loop.create_unix_server(
                lambda: Conversation(plane, own), wanted.path, backlog=_BACKLOG
            )
            return Listener(server, text, wanted.path)
        server = await loop.create_server(
            lambda: Conversation(plane, own), wanted.host, wanted.port, backlog=_BACKLOG
        )
    except OSError as error:
        said = error.strerror or str(error)
        raise ConfigError(where, f"{text} ({said})", "an address that is free here") from None
    return Listener(server, _url(server))


async def listen_on(plane: Plane, given: socket.socket, vm: str = "") -> Listener:
    """Serve a socket that somebody has opened and bound; with a VM, everybody there is that one.

    Of a unix socket the file is not ours to take away.
    """
    own = VM + vm if vm else ""
    loop = asyncio.get_running_loop()
    if given.family == socket.AF_UNIX:
        server = await loop.create_unix_server(
            lambda: Conversation(plane, own), sock=given, backlog=_BACKLOG
        )
        return Listener(server, _UNIX + str(given.getsockname()))
    server = await loop.create_server(
        lambda: Conversation(plane, own), sock=given, backlog=_BACKLOG
    )
    return Listener(server, _url(server))


def _url(server: asyncio.Server) -> str:
    bound = server.sockets[0].getsockname()
    host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return f"http://{host}:{bound[1]}"


def _free(path: str) -> None:
    """Take away a socket file that nobody listens on any more.

    Raises:
        OSError: somebody does, or the file is no socket.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - sockets are os's own trade
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(0, "the file exists and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) == 0:
            raise FileExistsError(0, "another server listens there")
    os.unlink(path)  # noqa: PTH108 - as above
