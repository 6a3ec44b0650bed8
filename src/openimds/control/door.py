"""The admin port: open from the start, with nobody behind it until somebody knocks.

Loading the web server takes longer than starting the whole data plane, so it waits for the first
connection, which the kernel keeps in the meantime. It is loaded in a thread: guests do not notice.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from openimds.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn

_BACKLOG = 128
_GRACE_S = 2

MakeApplication = Callable[[], Any]


class Door:
    """The listening socket of the admin API, and the server once there is one."""

    def __init__(
        self, host: str, port: int, make: MakeApplication, tell: Callable[[str], None]
    ) -> None:
        """Bind the address; port 0 takes a free one.

        Raises:
            ConfigError: the address cannot be had.
        """
        self._make, self._tell = make, tell
        self._task: asyncio.Task[None] | None = None
        self._server: uvicorn.Server | None = None
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            raise ConfigError(
                "admin",
                f"{host}:{port} ({error.strerror or error})",
                "an address that is free here",
                "Write --admin 127.0.0.1:0 for any free port, or --admin none",
            ) from None
        self._socket.settimeout(0)
        bound = self._socket.getsockname()
        self.url = f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"

    def open(self) -> None:
        """Wait for the first knock."""
        asyncio.get_running_loop().add_reader(self._socket, self._knock)

    def _knock(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            self._server = await asyncio.to_thread(self._load)
            await self._server.serve(sockets=[self._socket])
        except Exception as error:  # noqa: BLE001 - guests are served on; the operator is told
            self._tell(f"the admin API cannot be served: {error!r}")
            self._socket.close()

    def _load(self) -> "uvicorn.Server":
        import uvicorn  # noqa: PLC0415 - the reason of this module

        class Quiet(uvicorn.Server):
            """A server that leaves the signals to the process that it is part of."""

            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        # Bytes that are no HTTP are the caller's affair; a mistake of ours is still said.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            self._make(),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_S,
            limit_concurrency=256,
        )
        return Quiet(config)

    async def close(self) -> None:
        """Answer what is under way, and go."""
        if self._task is None:
            asyncio.get_running_loop().remove_reader(self._socket)
        elif self._server is None:
            self._task.cancel()
        else:
            self._server.should_exit = True
        if self._task:
            await asyncio.wait({self._task}, timeout=_GRACE_S + 1)
        self._socket.close()
