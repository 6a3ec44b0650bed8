"""Ways to be one of the first VMs of a fleet from this machine."""

import socket
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from openimds.dataplane.listeners import Netns, address
from openimds.fleet.index import FleetIndex
from openimds.fleet.vm_entry import VmEntry
from openimds.server.listener_set import ListenerSet
from openimds.server.ready import LocalCaller

MOST = 3
"""The VMs that a ready server names."""
_MOST_LOOKED_AT = 100
"""The VMs among which it looks for those that can be reached from this machine."""
_LOOPBACK, _ANY = "127.", frozenset({"0.0.0.0", "::"})  # noqa: S104 - names of hosts


def local_callers(
    index: FleetIndex[Any], listeners: ListenerSet, url: str
) -> tuple[LocalCaller, ...]:
    """Return a way to be each of the first VMs at `url`, the shared listener."""
    if index.only:
        return (_caller(index.only, url),)
    entries = islice(index.by_name.values(), _MOST_LOOKED_AT)
    ways = (next(_ways(entry, listeners, url), None) for entry in entries)
    return tuple(islice((way for way in ways if way), MOST))


def _ways(entry: VmEntry[Any], listeners: ListenerSet, url: str) -> Iterator[LocalCaller]:
    """Yield ways to be a VM: its own listeners, then its local addresses."""
    for text in entry.claims.listeners:
        if text in listeners.by_text:
            own = address(text, "")
            netns = own.name if isinstance(own, Netns) else ""
            yield _caller(entry, listeners.by_text[text].url, netns=netns)
    host = urlsplit(url).hostname or ""
    for source in entry.claims.addresses:
        is_reachable = host in _ANY or (host.startswith(_LOOPBACK) == source.startswith(_LOOPBACK))
        if host and is_reachable and (":" in host) == (":" in source) and _is_here(source):
            yield _caller(entry, url, source)


def _caller(entry: VmEntry[Any], url: str, source: str = "", netns: str = "") -> LocalCaller:
    identities = entry.vm.identities
    # Without a system-assigned identity, several user-assigned ones need a choice.
    has_token = identities.system or len(identities.user) == 1
    return LocalCaller(entry.name, url, source, netns, has_token=has_token)


def _is_here(source: str) -> bool:
    """Tell whether a program on this machine can have this source address."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((source, 0))
    except OSError:
        return False
    return True
