"""The two ports beside the data plane: the admin API, and published keys and certificates."""

from collections.abc import Callable
from functools import partial
from socket import socket
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

from openimds.admin.lazy_server import LazyServer, MakeApplication, TlsListeners, bind
from openimds.dataplane.listeners import Tcp, address
from openimds.errors import ConfigError
from openimds.facts.attested import AZURE_PKI_HOSTS
from openimds.server.inherited_sockets import InheritedSockets
from openimds.settings import Settings

DEFAULT_PUBLIC = ("127.0.0.1", 8171)
"""The public port of the setting `auto`."""


class AdminPorts:
    """The admin port and the public port; each loads its application at the first connection."""

    def __init__(  # noqa: PLR0913, PLR0917 - the input of two ports
        self,
        settings: Settings,
        inherited: InheritedSockets,
        notify: Callable[[str], None],
        on_shortage: Callable[[OSError], None],
        most: int,
        tls: SSLContext | None = None,
    ) -> None:
        """Bind the public port at once: its URL stands in certificates and tokens.

        `on_shortage` is called when a port pauses for want of file descriptors; each port has at
        most `most` connections. `tls` is for inherited sockets of https.

        Raises:
            ConfigError: the public port cannot be bound.
        """
        self._settings, self._inherited = settings, inherited
        self._serve = partial(LazyServer, notify=notify, on_shortage=on_shortage, most=most)
        self._public: LazyServer | None = None
        self._admin: LazyServer | None = None
        self._make_public: MakeApplication = lambda: None
        sockets = inherited.public
        if not sockets and settings.public != "none":
            sockets = (bind_public(settings.public),)
        if sockets:
            self._public = self._serve(
                "public",
                sockets,
                lambda: self._make_public(),  # noqa: PLW0108 - it comes later
                tls=TlsListeners(inherited.public_tls, tls) if tls else None,
            )

    @property
    def public_url(self) -> str | None:
        """The URL of the public port; None without one."""
        return self._public.url if self._public else None

    @property
    def has_admin(self) -> bool:
        """Whether the settings or an inherited socket ask for an admin API."""
        return bool(self._inherited.admin) or self._settings.admin != "none"

    @property
    def admin_names(self) -> frozenset[str]:
        """The host names by which the admin API may be called."""
        is_bound = self._inherited.are_of_settings or not self._inherited.admin
        bound = address(self._settings.admin, "admin") if is_bound else None
        own = {bound.host.lower()} if isinstance(bound, Tcp) else set()
        return frozenset(self._settings.admin_hosts) | own

    @property
    def public_names(self) -> frozenset[str]:
        """The host names by which the public listener is called, beside those in certificates."""
        settings, found = self._settings, {""}
        for url in (settings.public_url, settings.issuer):
            found.add(urlsplit(url).hostname or "")
        is_bound = self._inherited.are_of_settings or not self._inherited.public
        if is_bound and settings.public not in {"auto", "none"}:
            found.add(tcp_address(settings.public, "public")[0].lower())
        is_azure = settings.pki_names == "azure" or self._inherited.public_tls
        azure = AZURE_PKI_HOSTS if is_azure else ()
        return frozenset(found) - {""} | frozenset(azure)

    def open_public(self, make: MakeApplication) -> None:
        """Accept connections to the public port; `make` returns its ASGI application."""
        self._make_public = make
        if self._public:
            self._public.open()

    def open_admin(self, make: Callable[[], Any]) -> str:
        """Bind the admin port, accept connections, and return its URL.

        Raises:
            ConfigError: the admin port cannot be bound.
        """
        sockets = self._inherited.admin or (
            bind("admin", tcp_address(self._settings.admin, "admin")),
        )
        self._admin = self._serve("admin", sockets, make)
        self._admin.open()
        return self._admin.url

    async def close(self) -> None:
        """Answer the requests under way, then close both ports."""
        for port in (self._admin, self._public):
            if port:
                await port.close()

    def shut(self) -> None:
        """Close the sockets at once."""
        for port in (self._admin, self._public):
            if port:
                port.shut()


def tcp_address(text: str, setting: str) -> tuple[str, int]:
    """Return the host and port of a setting.

    Raises:
        ConfigError: the text is no TCP address.
    """
    tcp = address(text, setting)
    if not isinstance(tcp, Tcp):
        raise ConfigError(setting, f'"{text}"', "HOST:PORT or none")
    return tcp.host, tcp.port


def bind_public(text: str) -> socket:
    """Bind the public port; if the default one is taken, bind a free one."""
    if text != "auto":
        return bind("public", tcp_address(text, "public"))
    try:
        return bind("public", DEFAULT_PUBLIC)
    except ConfigError:
        return bind("public", (DEFAULT_PUBLIC[0], 0))
