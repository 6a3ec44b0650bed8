"""The variables that point clients at the server, for this process or for a child."""

from collections.abc import Iterator, Mapping

import pytest

from openimds.errors import ConfigError
from openimds.facts.protocols import IMDS, TOKEN_ROUTES
from openimds.parameters import nearest
from openimds.server.server import Server
from openimds.testing.vms import Subject, Vms

EVERY_VARIABLE = sorted({name for row in TOKEN_ROUTES.values() for name, _ in row.variables})
"""Of all ways: a client that finds one of another way would take that one."""


class Environment(Mapping[str, str]):
    """The variables of IMDS itself, as a mapping: `{**os.environ, **imds.env}` is for a child."""

    def __init__(self, server: Server, vms: Vms, under_test: str) -> None:
        """Read from a server."""
        self._server, self._vms, self._under_test = server, vms, under_test

    def __getitem__(self, name: str) -> str:
        """Return a variable of IMDS."""
        return self.of(IMDS)[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the variables of IMDS."""
        return iter(self.of(IMDS))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.of(IMDS))

    def of(self, way: str, vm: Subject | str = "") -> dict[str, str]:
        """Return the variables of a way to tokens, as a client of a VM has them.

        Args:
            way: imds, app-service, functions-2017, azure-ml, cloud-shell, or arc (which needs the
                setting arc_folder).
            vm: whose client it is, by default that of the VM under test.

        Raises:
            ConfigError: there is no such way here, or no such VM.
        """
        name = vm if isinstance(vm, str) else vm.name
        ways = self._server.identity_variables(self._vms.entry(name or self._under_test).vm)
        if way in ways:
            return ways[way]
        hint = nearest(way, ways)
        if way in TOKEN_ROUTES:
            hint = f"Write @pytest.mark.imds({TOKEN_ROUTES[way].setting}=...) for {way}"
        raise ConfigError("way", f'"{way}"', "one of " + ", ".join(ways), hint)

    def use(self, monkeypatch: pytest.MonkeyPatch, way: str = IMDS, vm: Subject | str = "") -> None:
        """Have this process take a way for as long as the test lasts, and no other way.

        Raises:
            ConfigError: as `of`.
        """
        found = self.of(way, vm)
        for name in EVERY_VARIABLE:
            monkeypatch.delenv(name, raising=False)
        for name, value in found.items():
            monkeypatch.setenv(name, value)
