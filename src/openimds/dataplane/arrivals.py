"""The origin of an accepted connection, as far as its addresses tell it.

Two questions are answered once for each connection:

- Whether a web page can have opened it. A page whose name is rebound to an address of the machine
  of its reader (DNS rebinding) reads responses there: on loopback, and at each other address of the
  machine, which the kernel reaches with that same address as source. So such connections are
  judged: Host and Origin are checked. Behind the published port of a container they come from
  another address; there the setting `check_hosts` has all of them judged.
- Whether it comes from beyond this machine. A VM that answers every caller, without a `reach`,
  gives its tokens of Entra to callers of this machine alone.

Connections to the addresses of Azure are never judged: there a server answers as Azure does. No web
page reaches a unix socket, a sandbox or a network namespace with a listener of its own.
"""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple, TypeAlias

from msgspec import Struct

REAL_ADDRESSES = frozenset(("169.254.169.254", "169.254.169.253", "fe80::a9fe:a9fe"))
"""The addresses at which Azure answers, to which the rules of `openimds host` lead guests."""
_MAPPED = "::ffff:"
"""The beginning of an IPv4 address of a socket that serves both versions."""


class Arrival(NamedTuple):
    """The origin of a connection; see the module."""

    is_judged: bool
    is_beyond: bool


NEAR = Arrival(is_judged=False, is_beyond=False)
_PAGE = Arrival(is_judged=True, is_beyond=False)
Decide: TypeAlias = Callable[[socket.SocketType, str], Arrival]
"""Returns the origin of an accepted connection from a source address."""


class ArrivalRule(Struct, frozen=True):
    """The rule of one listener; `can_judge` tells whether it has any connection judged."""

    can_judge: bool
    decide: Decide


EVERY_CALLER_IS_NEAR = ArrivalRule(False, lambda _accepted, _peer: NEAR)  # noqa: FBT003 - a constant


def arrival_rule(bound: socket.socket, *, can_be_page: bool, checks_hosts: bool) -> ArrivalRule:
    """Return the rule of a bound socket.

    Args:
        bound: a TCP or unix socket.
        can_be_page: whether web pages reach it if its address lets them.
        checks_hosts: whether connections from beyond this machine are judged, too.
    """
    place = bound.getsockname()
    if not isinstance(place, tuple):
        return EVERY_CALLER_IS_NEAR
    host = _plain(str(place[0]))

    def arrival(local: str, peer: str) -> Arrival:
        is_near = local == peer or _is_loopback(local)
        is_real = local in REAL_ADDRESSES
        return Arrival(can_be_page and not is_real and (is_near or checks_hosts), not is_near)

    def by_own_address(accepted: socket.SocketType, peer: str) -> Arrival:
        try:
            local = _plain(str(accepted.getsockname()[0]))
        except OSError:  # Some systems do not tell it once the peer has reset the connection.
            return Arrival(can_be_page, is_beyond=True)
        return arrival(local, _plain(peer))

    if ip_address(host).is_unspecified:
        return ArrivalRule(can_be_page, by_own_address)
    near, beyond = arrival(host, host), arrival(host, "")
    if _is_loopback(host):
        return ArrivalRule(near.is_judged, lambda _accepted, _peer: near)
    return ArrivalRule(
        near.is_judged, lambda _accepted, peer: near if _plain(peer) == host else beyond
    )


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _plain(address: str) -> str:
    """Return the address of a socket without its zone; IPv4 in its own form."""
    return address.partition("%")[0].removeprefix(_MAPPED)
