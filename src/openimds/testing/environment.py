"""The variables that point clients at the server, for this process or for a child."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from openimds.errors import ConfigError
from openimds.facts.protocols import CHAIN_PIN, EVERY_VARIABLE, IMDS, TOKEN_ROUTES
from openimds.parameters import nearest
from openimds.testing.server_thread import RunningServer
from openimds.testing.vms import HasName, entry_of


class SetsVariables(Protocol):
    """The part of pytest's `MonkeyPatch` that sets variables until the test ends."""

    def setenv(self, name: str, value: str) -> None:
        """Set a variable."""
        ...

    def delenv(self, name: str, raising: bool = True) -> None:  # noqa: FBT001, FBT002 - pytest's
        """Unset a variable."""
        ...


class Environment(Mapping[str, str]):
    """The variables of IMDS as a mapping; `{**os.environ, **imds.env}` is for a child."""

    is_pinned: bool = True
    """False leaves out AZURE_TOKEN_CREDENTIALS, for a library that refuses it."""

    def __init__(self, running: RunningServer, under_test: str) -> None:
        """Take a running server, and the name of the VM under test."""
        self._running, self._under_test = running, under_test

    def __getitem__(self, name: str) -> str:
        """Return a variable of IMDS."""
        return self.of(IMDS)[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names of the variables of IMDS."""
        return iter(self.of(IMDS))

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self.of(IMDS))

    def of(self, way: str, vm: HasName | str = "") -> dict[str, str]:
        """Return the variables of a token protocol for clients of a VM.

        Args:
            way: imds, app-service, functions-2017, azure-ml, cloud-shell, or arc (which needs the
                setting arc_folder).
            vm: the VM, by default the VM under test.

        Raises:
            ConfigError: the server does not serve the protocol, or has no such VM.
        """
        name = vm if isinstance(vm, str) else vm.name
        entry = entry_of(self._running, name or self._under_test)
        ways = self._running.server.identity_variables(entry.vm)
        if way in ways:
            dropped = "" if self.is_pinned else CHAIN_PIN
            of_way = {name: value for name, value in ways[way].items() if name != dropped}
            pki = self._running.azure_pki
            return of_way | ({"SSL_CERT_FILE": pki.trust_path} if pki else {})
        hint = nearest(way, ways)
        if way in TOKEN_ROUTES:
            hint = f"Write {self._running.where}({TOKEN_ROUTES[way].setting}=...) for {way}"
        raise ConfigError("way", f'"{way}"', "one of " + ", ".join(ways), hint)

    def use(self, monkeypatch: SetsVariables, way: str = IMDS, vm: HasName | str = "") -> None:
        """Set the variables of one token protocol, and unset all others, until the test ends.

        Args:
            monkeypatch: pytest's fixture; without pytest, see `applied`.
            way: the token protocol, as in `of`.
            vm: the VM, by default the VM under test.

        Raises:
            ConfigError: as `of`.
        """
        variables = self.of(way, vm)
        for name in EVERY_VARIABLE:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    @contextmanager
    def applied(self, way: str = IMDS, vm: HasName | str = "") -> Iterator[dict[str, str]]:
        """Set the variables of one token protocol in this process until the block ends.

        Those of all other protocols are unset, and all are restored afterwards.

        Raises:
            ConfigError: as `of`.
        """
        variables = self.of(way, vm)
        names = {*EVERY_VARIABLE, *variables}
        before = {name: os.environ[name] for name in names if name in os.environ}
        try:
            _replace(names, variables)
            yield variables
        finally:
            _replace(names, before)


def _replace(names: set[str], values: Mapping[str, str]) -> None:
    """Set the variables that have a value, and unset the others."""
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(values)
