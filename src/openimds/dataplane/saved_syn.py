"""Handshakes behind the host rules: their first packet is kept, and their number bounded.

The rules of `openimds host` bind a guest's interface, hardware address and source address. They are
those of the fleet at the last `openimds host up`, and the fleet may have given a source address to
another VM since. The hardware address tells such a guest from the VM; Linux keeps it since 5.10.

Once the queue of half-open connections is full, the kernel answers with cookies and keeps no first
packet, so that no connection can be served. Therefore one that is half open ends after seconds, and
the rules bound new ones of each VM a second: one VM has `linux.host.nft_rules.MOST_HALF_OPEN` at
most.
"""

import socket
from functools import lru_cache

from openimds.fleet.vm_entry import unpack
from openimds.vm.defaults import hardware_address

# linux/tcp.h
_SYN_ACKS, _SAVE_SYN, _SAVED_SYN = 7, 27, 28
_WITH_LINK_HEADER = 2
_MOST_BYTES = 256
_RETRIES = 1
"""The kernel offers a connection once more after a second, and gives it up after two further ones.

By default it tries for a minute. A guest is one link away: where a packet is lost, its client opens
the connection again.
"""
_BACKLOG = 65_535
"""The length of the queue, if `net.core.somaxconn` allows it; its default is 4096."""
_SOURCE = slice(6, 12)
"""The place of the sender in an Ethernet header."""
_VMS = 1024
"""So many VMs' addresses are remembered."""


def save_first_packets(listening: socket.socket) -> None:
    """Let the kernel keep the first packet of each connection that it accepts later.

    Raises:
        OSError: this kernel cannot.
    """
    listening.setsockopt(socket.IPPROTO_TCP, _SAVE_SYN, _WITH_LINK_HEADER)


def bound_half_open(listening: socket.socket) -> None:
    """Let half-open connections of a listening socket end soon, and its queue have many.

    Raises:
        OSError: this kernel cannot.
    """
    listening.setsockopt(socket.IPPROTO_TCP, _SYN_ACKS, _RETRIES)
    listening.listen(_BACKLOG)


def sender_of(accepted: socket.SocketType) -> bytes:
    """Return the hardware address that opened a connection, or nothing.

    The kernel keeps none while it answers with cookies.
    """
    try:
        return accepted.getsockopt(socket.IPPROTO_TCP, _SAVED_SYN, _MOST_BYTES)[_SOURCE]
    except OSError:
        return b""


@lru_cache(_VMS)
def hardware_of(packed: bytes) -> bytes:
    """Return the hardware address that host rules bind a packed VM to.

    A VM without an interface, or with a malformed address, has none: no sender is that VM.
    """
    vm = unpack(packed)
    digits = hardware_address(vm) if vm.reach.interface else ""
    return bytes.fromhex(digits) if len(digits) == _DIGITS else _NONE


_DIGITS, _NONE = 12, b"none"
