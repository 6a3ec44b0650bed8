"""The register of issued leaves and of revoked certificates, which survives a restart.

It is the file `revocation.json` in the folder of the CA. A leaf is noted when it is issued, so that
a list and a response for it exist as long as it is valid. The number of entries is bounded: the
oldest certificate that is not revoked leaves first, and verifiers that look it up find nothing.
Leaves whose keys are on hosts have a register of their own, `host_leaf_register`.
"""

from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec.json
from cryptography import x509
from msgspec import Struct, structs

from openimds.credentials.keys.files import KeyFileError, read_file, write_file

FILE = "revocation.json"
MAX_ENTRIES = 1024
"""The most remembered certificates; each costs three signatures when its answers are renewed."""
PARTITIONS = 100_000
"""The number of partitions of an issuer's list; a new leaf has the next one."""
HOST_PARTITIONS = 100
"""The last partitions, which the leaves of hosts share: the leaves of one host have the same one.

So an issuer's lists are few, and all signed before its key is dropped.
"""


class RegisterEntry(Struct, frozen=True, omit_defaults=True):
    """An issued or revoked certificate; times in seconds since 1970.

    `serial` is in hexadecimal digits, upper case, as OpenSSL prints it. `issuer` is the name of the
    issuer's list, which has partitions for leaves.
    `revoked_s` None is a certificate in good standing, an empty `reason` an unspecified one. `host`
    has the key of a leaf; empty is this server.
    """

    serial: str
    issuer: str
    subject: str
    ends_s: float
    is_leaf: bool = True
    partition: int = 0
    revoked_s: float | None = None
    reason: str = ""
    host: str = ""


class _Contents(Struct):
    entries: list[RegisterEntry]
    last_partition: int = 0
    host_keys_from_s: int = 0


class RevocationRegister:
    """The entries by serial number, the oldest first. Its user holds a lock."""

    def __init__(self, folder: Path | None) -> None:
        """Read the file of a folder; None is a register in memory.

        Raises:
            KeyFileError: the file cannot be read.
        """
        self._path = folder / FILE if folder else None
        contents = _read(self._path) if self._path else _Contents([])
        self._entries = {entry.serial: entry for entry in contents.entries if not entry.host}
        self.of_hosts = [entry for entry in contents.entries if entry.host]
        """The leaves of hosts in a file of an earlier release."""
        self._last_partition = contents.last_partition
        self._host_keys_from_s = contents.host_keys_from_s

    def next_partition(self) -> int:
        """Return a partition that no leaf has had lately."""
        self._last_partition = self._last_partition % (PARTITIONS - 1 - HOST_PARTITIONS) + 1
        return self._last_partition

    @property
    def host_keys_from_s(self) -> int:
        """The time before which the leaf keys of hosts are retired, in seconds since 1970."""
        return self._host_keys_from_s

    def retire_host_keys(self, now_s: float) -> None:
        """Have hosts replace the keys of leaves that were issued before this time.

        Raises:
            KeyFileError: the file cannot be written; the keys stay.
        """
        before, self._host_keys_from_s = self._host_keys_from_s, int(now_s)
        try:
            self._write()
        except KeyFileError:
            self._host_keys_from_s = before
            raise

    def entries(self) -> list[RegisterEntry]:
        """Return all entries, the oldest first."""
        return [*self._entries.values()]

    def get(self, serial: str) -> RegisterEntry | None:
        """Return the entry of a serial number."""
        return self._entries.get(serial)

    def note(self, entry: RegisterEntry, now_s: float) -> None:
        """Remember an issued leaf; on a full disk until the process ends."""
        self._put(entry, now_s)
        with suppress(KeyFileError):
            self._write()

    def revoke(self, entry: RegisterEntry, reason: str, now_s: float) -> None:
        """Remember that a certificate is revoked.

        Raises:
            KeyFileError: the file cannot be written; the certificate is not revoked.
        """
        before = dict(self._entries)
        self._put(structs.replace(entry, revoked_s=now_s, reason=reason), now_s)
        try:
            self._write()
        except KeyFileError:
            self._entries = before
            raise

    def _put(self, entry: RegisterEntry, now_s: float) -> None:
        live = {
            serial: item
            for serial, item in self._entries.items()
            if item.ends_s >= now_s or item.revoked_s is not None
        }
        live[entry.serial] = entry
        while len(live) > MAX_ENTRIES:
            good = (one for one in live.values() if one.revoked_s is None and one is not entry)
            del live[next(good, next(iter(live.values()))).serial]
        self._entries = live

    def drop_leaves_of_hosts(self) -> None:
        """Write the file without the leaves of hosts, which another register has now."""
        if self.of_hosts:
            self.of_hosts = []
            with suppress(KeyFileError):  # The next change writes it.
                self._write()

    def _write(self) -> None:
        if self._path:
            entries = [*self.of_hosts, *self.entries()]
            contents = _Contents(entries, self._last_partition, self._host_keys_from_s)
            write_file(self._path, msgspec.json.encode(contents))


def host_partition(host: str) -> int:
    """Return the partition of the leaves of a host."""
    number = int.from_bytes(blake2b(host.encode(), digest_size=4).digest(), "big")
    return PARTITIONS - 1 - number % HOST_PARTITIONS


def _read(path: Path) -> _Contents:
    try:
        return msgspec.json.decode(read_file(path)[0], type=_Contents)
    except FileNotFoundError:
        return _Contents([])
    except msgspec.MsgspecError as error:
        raise KeyFileError(
            f"{path}: {str(error)[:200].lower()}. Restore the file from a backup, or remove it: "
            "revoked certificates are then in good standing again"
        ) from None


def serial_of(certificate: x509.Certificate) -> str:
    """Return the serial number of a certificate in hexadecimal digits, as OpenSSL prints it."""
    return hex_serial(certificate.serial_number)


def hex_serial(number: int) -> str:
    """Return a serial number in hexadecimal digits, as OpenSSL prints it."""
    digits = f"{number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"
