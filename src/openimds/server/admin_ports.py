"""The two ports beside the data plane: the admin API's, and that of what is published."""

from collections.abc import Callable
from socket import socket
from typing import Any

from openimds.admin.lazy_server import LazyServer, MakeApplication, bind
from openimds.config import Config
from openimds.dataplane.listeners import Tcp, address
from openimds.errors import ConfigError
from openimds.server.inherited_sockets import InheritedSockets

_PUBLIC = ("127.0.0.1", 8171)


class AdminPorts:
    """Both ports; behind each somebody is put when it opens."""

    def __init__(
        self, config: Config, given: InheritedSockets, notify: Callable[[str], None]
    ) -> None:
        """Take the public port at once: its URL stands in what is signed.

        Raises:
            ConfigError: it cannot be had.
        """
        self._config, self._given, self._notify = config, given, notify
        self._public: LazyServer | None = None
        self._admin: LazyServer | None = None
        self._make_public: MakeApplication = lambda: None
        sockets = given.public
        if not sockets and config.public != "none":
            sockets = (_bound(config.public),)
        if sockets:
            self._public = LazyServer("public", sockets, lambda: self._make_public(), notify)  # noqa: PLW0108 - it comes later

    @property
    def public_url(self) -> str | None:
        """Where the public port is, if there is one."""
        return self._public.url if self._public else None

    @property
    def has_admin(self) -> bool:
        """Tell whether there is to be an admin API."""
        return bool(self._given.admin) or self._config.admin != "none"

    @property
    def admin_names(self) -> frozenset[str]:
        """The names by which the admin API may be called."""
        wanted = None if self._given.admin else address(self._config.admin, "admin")
        own = {wanted.host.lower()} if isinstance(wanted, Tcp) else set()
        return self._config.admin_hosts | own

    def open_public(self, make: MakeApplication) -> None:
        """Let services in."""
        self._make_public = make
        if self._public:
            self._public.open()

    def open_admin(self, make: Callable[[], Any]) -> str:
        """Let operators in, and return where.

        Raises:
            ConfigError: the port cannot be had.
        """
        sockets = self._given.admin or (bind("admin", _tcp(self._config.admin, "admin")),)
        self._admin = LazyServer("admin", sockets, make, self._notify)
        self._admin.open()
        return self._admin.url

    async def close(self) -> None:
        """Answer what is under way, and go."""
        for door in (self._admin, self._public):
            if door:
                await door.close()

    def shut(self) -> None:
        """Give the ports back, whoever is there."""
        for door in (self._admin, self._public):
            if door:
                door.shut()


def _bound(text: str) -> socket:
    """Return the socket of the public port; the one that nobody chose gives way to a free one."""
    if text != "auto":
        return bind("public", _tcp(text, "public"))
    try:
        return bind("public", _PUBLIC)
    except ConfigError:
        return bind("public", (_PUBLIC[0], 0))


def _tcp(text: str, where: str) -> tuple[str, int]:
    found = address(text, where)
    if not isinstance(found, Tcp):
        raise ConfigError(where, f'"{text}"', "HOST:PORT or none")
    return found.host, found.port
