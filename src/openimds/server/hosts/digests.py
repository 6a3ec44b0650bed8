"""Digests of the VMs that a host shows, by which two ends find what differs."""

from collections.abc import Mapping
from hashlib import blake2b

from openimds.server.hosts.messages import DIGEST_OCTETS


def digest_of(packed: bytes) -> bytes:
    """Return the digest of a packed VM: equal VMs have equal ones."""
    return blake2b(packed, digest_size=DIGEST_OCTETS).digest()


def digest_of_all(digests: Mapping[str, bytes]) -> bytes:
    """Return the digest of all VMs of a host."""
    whole = blake2b(digest_size=DIGEST_OCTETS)
    for name in sorted(digests):
        whole.update(name.encode("utf-8", "surrogatepass") + b"\0" + digests[name])
    return whole.digest()


def page(digests: Mapping[str, bytes], after: str, limit: int) -> dict[str, bytes]:
    """Return up to `limit` digests whose names follow `after`."""
    names = sorted(name for name in digests if name > after)[:limit]
    return {name: digests[name] for name in names}


def differing(wanted: Mapping[str, bytes], shown: Mapping[str, bytes]) -> set[str]:
    """Return the names of the VMs to send, and of those to remove."""
    return {name for name in wanted.keys() | shown.keys() if wanted.get(name) != shown.get(name)}
