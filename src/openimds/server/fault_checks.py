"""Checks of faults against the server that plays them."""

from collections.abc import Callable, Iterable

from openimds.errors import ConfigError
from openimds.protocol.faults.fault import FaultSpec
from openimds.server.admin_ports import AdminPorts


class FaultChecks:
    """The system and the listeners that faults need."""

    def __init__(
        self, check_host: Callable[[Iterable[FaultSpec]], None], admin_ports: AdminPorts
    ) -> None:
        """Check by the host, and by the ports beside the data plane."""
        self._check_host, self._admin_ports = check_host, admin_ports

    def check(self, specs: Iterable[FaultSpec]) -> None:
        """Check that this server can play these faults together.

        Raises:
            ConfigError: a fault needs a public listener, or filters of sockets that are not here.
        """
        specs = tuple(specs)
        for spec in specs:
            if spec.is_public and self._admin_ports.public_url is None:
                raise ConfigError(
                    "effect",
                    f'"{spec.effect}", a fault of the public listener',
                    "a server that has one",
                    'Start it without --public none; in Python, set public="127.0.0.1:0"',
                )
        self._check_host(specs)
