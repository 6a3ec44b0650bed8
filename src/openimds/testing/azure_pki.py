"""Azure's PKI hosts in the private network of a test."""

import socket
from pathlib import Path

from openimds.admin.lazy_server import bind
from openimds.linux.memory_file import MemoryFile
from openimds.server.admin_ports import DEFAULT_PUBLIC, tcp_address
from openimds.server.azure_hosts import WEB, WEB_TLS
from openimds.server.inherited_sockets import InheritedSockets
from openimds.settings import Settings


class AzurePki:
    """Azure's PKI hosts for one server after another: sockets, and roots to trust."""

    def __init__(self, memory: Path) -> None:
        """Make an empty file of roots in a folder that is in memory."""
        self._trust = MemoryFile("trust.pem", memory)
        self.trust_path = self._trust.path
        """The path of the file of roots, for this process and its children."""

    def inherited(self, settings: Settings) -> InheritedSockets:
        """Return new sockets for a server, and that of a wanted public listener.

        Raises:
            ConfigError: an address cannot be bound; no socket stays open.
        """
        addresses = [WEB, WEB_TLS]
        if settings.public != "none":
            is_default = settings.public == "auto"
            own = DEFAULT_PUBLIC if is_default else tcp_address(settings.public, "public")
            addresses.insert(0, own)
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                sockets.append(bind("public", address))  # noqa: PERF401 - all are closed on errors
        except BaseException:
            for item in sockets:
                item.close()
            raise
        *public, web_tls = sockets
        return InheritedSockets(public=tuple(public), public_tls=(web_tls,), trust=self._trust)

    def close(self) -> None:
        """Release the file of roots."""
        self._trust.close()
