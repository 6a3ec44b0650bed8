"""Accepted sockets on their way to the web server: TLS handshakes, bounded and shared."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from openimds.admin.connection_shares import ConnectionShares

if TYPE_CHECKING:
    import uvicorn

HANDSHAKE_S = 10.0
"""The longest time for a TLS handshake."""
MOST_HANDSHAKES = 64
"""TLS handshakes at one time; a newcomer takes the place of the address that has most."""

ContextSource = Callable[[], SSLContext]
"""Returns the TLS context of the next connection."""


class TlsListeners(Struct, frozen=True):
    """Listening sockets of https, and the source of the certificate that they show."""

    sockets: tuple[socket.socket, ...]
    context: ContextSource


class _Handshake:
    """A handshake that gives way to that of a newcomer."""

    is_idle = True

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.task: asyncio.Task[None]

    def give_way(self) -> None:
        """End the handshake, and with it the connection."""
        self.task.cancel()


class Handovers:
    """The sockets that were accepted and are no connections of the web server yet."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._shares = ConnectionShares(MOST_HANDSHAKES)

    def begin(
        self,
        server: "uvicorn.Server",
        accepted: socket.socket,
        caller: str,
        context: SSLContext | None,
    ) -> None:
        """Hand a socket over to the web server, with a context after a TLS handshake.

        `caller` is the address of the caller; empty for a unix socket.
        """
        handshake = _Handshake(caller)
        task = asyncio.create_task(_hand_over(server, accepted, context))
        handshake.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before it has begun closes nothing.
        task.add_done_callback(lambda one: accepted.close() if one.cancelled() else None)
        if context:
            # Every handshake is idle, so that there is a place for each newcomer.
            self._shares.add(handshake)
            task.add_done_callback(lambda _: self._shares.remove(handshake))


async def _hand_over(
    server: "uvicorn.Server", accepted: socket.socket, tls: SSLContext | None
) -> None:
    """Make a connection of the web server from an accepted socket, with TLS if present."""
    protocol_class: Any = server.config.http_protocol_class
    make = partial(
        protocol_class, config=server.config, server_state=server.server_state, app_state={}
    )
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            make, accepted, ssl=tls, ssl_handshake_timeout=HANDSHAKE_S if tls else None
        )
    except OSError:  # The caller has gone, or one of the two does not trust the other.
        accepted.close()
