"""The register of the leaves whose keys are on hosts, by host.

The leaves of a host are one value of the store. A leaf is there before its host gets it, so each
control that leads knows every leaf in use: it can be revoked, and verifiers that look it up find
it. A new leaf costs as much as its host has leaves, however many others there are. Nothing of this
is secret: certificates are public.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec.json
from msgspec import structs

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.pki.revocation_register import RegisterEntry
from openimds.errors import Error
from openimds.facts.revocation import LEAF_CRL_LIFE_S

MAX_HOST_ENTRIES = 40_000
"""The most remembered leaves of hosts: two for each of 5,000 hosts in four regions each.

Each weighs about 0.6 kB in memory, and as much in the store.
"""
MAX_PER_HOST = 64
"""The most leaves in use on one host; a host has one for each region of its VMs."""
MAX_KEPT_PER_HOST = 2 * MAX_PER_HOST
"""The most valid leaves of one host: those in use, and those that they have replaced."""
MAX_NOTED_PER_HOST = 4 * MAX_KEPT_PER_HOST
"""The most leaves of one host with those that are revoked."""
_encode, _decode = msgspec.json.encode, msgspec.json.Decoder(list[RegisterEntry]).decode


class LeafValues(Protocol):
    """The values of a store by host, as their owner makes them durable."""

    def load(self) -> Mapping[str, bytes]:
        """Return all values.

        Raises:
            Error: the store cannot be read.
        """
        ...

    def put(self, values: Mapping[str, bytes | None]) -> None:
        """Store values, durably when this returns; None removes one.

        Raises:
            Error: the store cannot be written, or by another control alone.
        """
        ...


class FullRegisterError(Error):
    """A leaf that the register has no room for."""


class HostLeafRegister:
    """The leaves of all hosts. Its user holds a lock, except for `get`."""

    def __init__(self, values: LeafValues | None = None) -> None:
        """Read the values of a store; without one, leaves are forgotten with the process.

        Raises:
            KeyFileError: the store cannot be read, or a value is damaged.
        """
        self._values = values
        self._hosts: dict[str, tuple[RegisterEntry, ...]] = {}
        self._serials: dict[str, RegisterEntry] = {}
        if values is None:
            return
        try:
            stored = values.load()
        except Error as error:
            raise KeyFileError(f"the leaves of hosts cannot be read: {error}") from None
        for host, value in stored.items():
            self._publish(host, _entries(host, value))

    def __len__(self) -> int:
        """Return the number of remembered leaves."""
        return len(self._serials)

    def entries(self) -> list[RegisterEntry]:
        """Return the leaves of all hosts, those of a host the oldest first."""
        return [entry for own in [*self._hosts.values()] for entry in own]

    def of(self, host: str) -> tuple[RegisterEntry, ...]:
        """Return the leaves of a host, the oldest first."""
        return self._hosts.get(host, ())

    def get(self, serial: str) -> RegisterEntry | None:
        """Return the leaf of a serial number."""
        return self._serials.get(serial)

    def note(self, host: str, leaves: Sequence[RegisterEntry], now_s: float) -> None:
        """Remember new leaves of a host.

        Raises:
            FullRegisterError: there is no room for them.
            KeyFileError: they cannot be stored; nothing is remembered.
        """
        live = _live(self.of(host), now_s)
        if len(live) + len(leaves) > MAX_NOTED_PER_HOST:
            raise FullRegisterError(
                f"host {host}: saw {len(live)} leaves that are valid or revoked, expected "
                f"{MAX_NOTED_PER_HOST} at most with {len(leaves)} new ones. Wait for the end of one"
            )
        if len(self) + len(leaves) > MAX_HOST_ENTRIES:
            self.forget_ended(now_s)
        if len(self) + len(leaves) > MAX_HOST_ENTRIES:
            raise FullRegisterError(
                f"host {host}: gets no leaf, as those of all hosts would be more than "
                f"{MAX_HOST_ENTRIES}. Let fewer hosts have VMs of many regions"
            )
        self._store({host: (*live, *leaves)})

    def revoke(self, leaves: Iterable[RegisterEntry], reason: str, now_s: float) -> None:
        """Remember that leaves of hosts are revoked, all of them or none.

        Raises:
            KeyFileError: they cannot be stored; none is revoked.
        """
        serials = {leaf.serial for leaf in leaves}
        hosts = {leaf.host for leaf in map(self.get, serials) if leaf}
        self._store(
            {
                host: tuple(
                    structs.replace(entry, revoked_s=now_s, reason=reason)
                    if entry.serial in serials
                    else entry
                    for entry in self.of(host)
                )
                for host in hosts
            }
        )

    def adopt(self, leaves: Iterable[RegisterEntry]) -> None:
        """Take leaves that another place of an earlier release has; those known here stay.

        Raises:
            KeyFileError: they cannot be stored.
        """
        hosts: dict[str, list[RegisterEntry]] = {}
        for leaf in leaves:
            if leaf.serial not in self._serials:
                hosts.setdefault(leaf.host, []).append(leaf)
        self._store({host: (*found, *self.of(host)) for host, found in hosts.items()})

    def forget_ended(self, now_s: float) -> None:
        """Forget the ended leaves of all hosts.

        Raises:
            KeyFileError: the store does not take it; nothing is forgotten.
        """
        live = {host: _live(own, now_s) for host, own in self._hosts.items()}
        self._store({host: own for host, own in live.items() if len(own) < len(self.of(host))})

    def _store(self, hosts: Mapping[str, tuple[RegisterEntry, ...]]) -> None:
        """Store the leaves of some hosts, and use them."""
        if self._values and hosts:
            try:
                self._values.put(
                    {host: _encode(own) if own else None for host, own in hosts.items()}
                )
            except Error as error:
                raise KeyFileError(f"the leaves of hosts cannot be stored: {error}") from None
        for host, own in hosts.items():
            self._publish(host, own)

    def _publish(self, host: str, own: tuple[RegisterEntry, ...]) -> None:
        before = self.of(host)
        if own:
            self._hosts[host] = own
        else:
            self._hosts.pop(host, None)
        new = {entry.serial: entry for entry in own}
        self._serials.update(new)
        for entry in before:
            if entry.serial not in new:
                del self._serials[entry.serial]


def _live(entries: Iterable[RegisterEntry], now_s: float) -> tuple[RegisterEntry, ...]:
    """Return the leaves that have not ended; a revoked one stays longer."""
    return tuple(
        entry
        for entry in entries
        if now_s <= entry.ends_s + (0 if entry.revoked_s is None else LEAF_CRL_LIFE_S)
    )


def _entries(host: str, value: bytes) -> tuple[RegisterEntry, ...]:
    try:
        return tuple(_decode(value))
    except msgspec.MsgspecError as error:
        raise KeyFileError(
            f"the leaves of host {host}: {str(error)[:200].lower()}. Restore the store"
            " from a backup"
        ) from None
