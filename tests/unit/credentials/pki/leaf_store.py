"""A store of the leaves of hosts in memory, which can be lost."""

from collections.abc import Mapping
from pathlib import Path

from openimds.credentials.pki.authority import CertificateAuthority
from openimds.errors import Error
from tests.unit.credentials.pki.openssl_verify import NOW_S, URL


class StoreLostError(Error):
    pass


class LeafStore:
    """The stored values by host, and the sizes of those that were written."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.written: list[int] = []
        self.is_lost = False

    def load(self) -> dict[str, bytes]:
        if self.is_lost:
            raise StoreLostError("no connection")
        return dict(self.stored)

    def put(self, values: Mapping[str, bytes | None]) -> None:
        if self.is_lost:
            raise StoreLostError("no connection")
        self.written.append(sum(len(value or b"") for value in values.values()))
        for host, value in values.items():
            if value is None:
                del self.stored[host]
            else:
                self.stored[host] = value


def open_authority(folder: Path | None, values: LeafStore) -> CertificateAuthority:
    return CertificateAuthority.open(folder, NOW_S, public_url=URL, host_leaves=values)
