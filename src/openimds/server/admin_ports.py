"""The ports beside the data plane: the admin API, metrics, published keys and certificates."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from socket import socket
from ssl import SSLContext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from openimds.admin.handovers import TlsListeners
from openimds.admin.lazy_server import LazyServer, MakeApplication, bind, url_of
from openimds.admin.metrics_listener import MOST_CONNECTIONS, MetricsListener, ReadSamples
from openimds.admin.metrics_listener import PATH as METRICS_PATH
from openimds.admin.tls_files import AdminTls, TlsFiles
from openimds.dataplane.listeners import Tcp, address
from openimds.errors import ConfigError
from openimds.facts.attested import AZURE_PKI_HOSTS
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.process_metrics import merged
from openimds.settings import Settings

if TYPE_CHECKING:  # It loads the Prometheus client, which only a scrape needs.
    from openimds.admin.metrics import Samples

DEFAULT_PUBLIC = ("127.0.0.1", 8171)
"""The public port of the setting `auto`."""
_METRICS = "metrics"


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
        self._settings, self._inherited, self._notify = settings, inherited, notify
        self._following: asyncio.Task[None] | None = None
        self._certificate: AdminTls | None = None
        self._serve = partial(LazyServer, notify=notify, on_shortage=on_shortage, most=most)
        self._public: LazyServer | None = None
        self._admin: LazyServer | None = None
        self._bound_admin: tuple[socket, ...] = ()
        self._metrics: MetricsListener | None = None
        self._make_public: MakeApplication = lambda: None
        sockets = inherited.public
        if not sockets and settings.public != "none":
            sockets = (bind_public(settings.public),)
        if sockets:
            self._public = self._serve(
                "public",
                sockets,
                lambda: self._make_public(),  # noqa: PLW0108 - it comes later
                tls=TlsListeners(inherited.public_tls, lambda: tls) if tls else None,
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

    def bind_admin(self) -> str:
        """Bind the admin port, and return its URL; `open_admin` accepts connections.

        Raises:
            ConfigError: the port cannot be bound.
        """
        return url_of(self._admin_sockets()[0], is_tls=bool(self._settings.admin_cert))

    def open_admin(self, make: Callable[[], Any]) -> str:
        """Bind the admin port, accept connections, and return its URL.

        Raises:
            ConfigError: the admin port cannot be bound, or its certificate cannot be used.
        """
        settings = self._settings
        if settings.admin_cert:
            files = TlsFiles(settings.admin_cert, settings.admin_key, settings.admin_client_ca)
            certificate = self._certificate = AdminTls(files, self._notify)
            tls = TlsListeners(self._admin_sockets(), certificate.context)
            self._admin = self._serve("admin", (), make, tls=tls)
            self._following = asyncio.create_task(certificate.follow())
        else:
            self._admin = self._serve("admin", self._admin_sockets(), make)
        self._admin.open()
        return self._admin.url

    def _admin_sockets(self) -> tuple[socket, ...]:
        """Return the sockets of the admin port.

        Raises:
            ConfigError: the port cannot be bound.
        """
        inherited = self._inherited.admin
        if not inherited and not self._bound_admin:
            self._bound_admin = (bind("admin", tcp_address(self._settings.admin, "admin")),)
        return inherited or self._bound_admin

    def samples(self) -> "dict[str, Samples]":
        """Return the values of the ports by the name of a metric."""
        ports = {"admin": self._admin, "public": self._public}
        shares = {name: port.shares for name, port in ports.items() if port}
        samples: dict[str, Samples] = {
            "openimds_port_connections": {name: len(one) for name, one in shares.items()},
            "openimds_port_connections_limit": {name: one.most for name, one in shares.items()},
            "openimds_port_connections_refused": {
                name: one.refused for name, one in shares.items()
            },
        }
        if listener := self._metrics:
            for name, value in metrics_port_samples(listener).items():
                samples[name] = merged(samples[name], value)
        if self._certificate and self._certificate.certificate:
            from openimds.credentials.pki.certificate_info import (  # noqa: PLC0415 - it loads cryptography
                end_of,
            )

            ends = end_of(self._certificate.certificate)
            samples["openimds_admin_certificate_expiry_timestamp_seconds"] = ends.timestamp()
        return samples

    async def open_metrics(self, read: ReadSamples) -> str | None:
        """Bind the listener for metrics alone, if the settings ask for one; return its URL.

        Raises:
            ConfigError: it cannot be bound.
        """
        sockets = self._inherited.metrics or bound_metrics(self._settings)
        if not sockets:
            return None
        names = metrics_names(self._settings)
        self._metrics = MetricsListener(sockets, names, read)
        await self._metrics.open()
        return metrics_url(sockets)

    async def close(self) -> None:
        """Answer the requests under way, then close the ports."""
        self._end_following()
        if self._metrics:
            self._metrics.close()
        for port in (self._admin, self._public):
            if port:
                await port.close()

    def shut(self) -> None:
        """Close the sockets at once."""
        self._end_following()
        if self._metrics:
            self._metrics.close()
        for port in (self._admin, self._public):
            if port:
                port.shut()
        for bound in self._bound_admin:
            bound.close()

    def _end_following(self) -> None:
        if self._following:
            self._following.cancel()


def metrics_port_samples(listener: MetricsListener) -> "dict[str, Samples]":
    """Return the values of the listener for metrics by the name of a metric."""
    return {
        "openimds_port_connections": {_METRICS: len(listener.open_connections)},
        "openimds_port_connections_limit": {_METRICS: MOST_CONNECTIONS},
        "openimds_port_connections_refused": {_METRICS: listener.refused},
    }


def bound_public(settings: Settings) -> tuple[socket, ...]:
    """Bind the public port, if the settings ask for one."""
    return () if settings.public == "none" else (bind_public(settings.public),)


def bound_admin(settings: Settings) -> tuple[socket, ...]:
    """Bind the admin port, if the settings ask for one.

    Raises:
        ConfigError: it cannot be bound.
    """
    if settings.admin == "none":
        return ()
    return (bind("admin", tcp_address(settings.admin, "admin")),)


def bound_metrics(settings: Settings) -> tuple[socket, ...]:
    """Bind the listener for metrics, if the settings ask for one.

    Raises:
        ConfigError: it cannot be bound.
    """
    if settings.metrics == "none":
        return ()
    return (bind(_METRICS, tcp_address(settings.metrics, _METRICS)),)


def metrics_url(sockets: Sequence[socket]) -> str:
    """Return the URL of the listener for metrics."""
    return f"{url_of(sockets[0])}{METRICS_PATH}"


def metrics_names(settings: Settings) -> frozenset[str]:
    """Return the host names of the listener for metrics, beside addresses."""
    bound = set() if settings.metrics == "none" else {tcp_address(settings.metrics, _METRICS)[0]}
    return frozenset(settings.admin_hosts) | {name.lower() for name in bound}


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
