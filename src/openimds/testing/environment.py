"""The variables that point clients at the server, for this process or for a child."""

from collections.abc import Iterator, Mapping

import pytest

from openimds.errors import ConfigError
from openimds.facts.protocols import CHAIN_PIN, EVERY_VARIABLE, IMDS, TOKEN_ROUTES
from openimds.parameters import nearest
from openimds.server.server import Server
from openimds.testing.vms import ServedVm, Vms


class Environment(Mapping[str, str]):
    """The variables of IMDS as a mapping; `{**os.environ, **imds.env}` is for a child."""

    is_pinned: bool = True
    """False leaves out AZURE_TOKEN_CREDENTIALS, for a library that refuses it."""

    def __init__(self, server: Server, vms: Vms, under_test: str) -> None:
        """Take a server, its VMs, and the name of the VM under test."""
        self._server, self._vms, self._under_test = server, vms, under_test

    def __getitem__(self, name: str) -> str:
        """Return a variable of IMDS."""
        return self.of(IMDS)[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the variables of IMDS."""
        return iter(self.of(IMDS))

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self.of(IMDS))

    def of(self, way: str, vm: ServedVm | str = "") -> dict[str, str]:
        """Return the variables of a token protocol for clients of a VM.

        Args:
            way: imds, app-service, functions-2017, azure-ml, cloud-shell, or arc (which needs the
                setting arc_folder).
            vm: the VM, by default the VM under test.

        Raises:
            ConfigError: the server does not serve the protocol, or has no such VM.
        """
        name = vm if isinstance(vm, str) else vm.name
        ways = self._server.identity_variables(self._vms.entry(name or self._under_test).vm)
        if way in ways:
            dropped = "" if self.is_pinned else CHAIN_PIN
            return {name: value for name, value in ways[way].items() if name != dropped}
        hint = nearest(way, ways)
        if way in TOKEN_ROUTES:
            hint = f"Write @pytest.mark.imds({TOKEN_ROUTES[way].setting}=...) for {way}"
        raise ConfigError("way", f'"{way}"', "one of " + ", ".join(ways), hint)

    def use(
        self, monkeypatch: pytest.MonkeyPatch, way: str = IMDS, vm: ServedVm | str = ""
    ) -> None:
        """Set the variables of one token protocol, and unset all others, until the test ends.

        Raises:
            ConfigError: as `of`.
        """
        variables = self.of(way, vm)
        for name in EVERY_VARIABLE:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
