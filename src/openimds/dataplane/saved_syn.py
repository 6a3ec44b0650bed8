"""The hardware address that opened a connection, kept by the kernel with its first packet.

The rules of `openimds host` bind a guest's interface, hardware address and source address. They are
those of the fleet at the last `openimds host up`, and the fleet may have given a source address to
another VM since. The hardware address tells such a guest from the VM; Linux keeps it since 5.10.
"""

import socket
from functools import lru_cache

from openimds.fleet.index import unpack
from openimds.vm.defaults import hardware_address

# linux/tcp.h
_SAVE_SYN, _SAVED_SYN = 27, 28
_WITH_LINK_HEADER = 2
_MOST_BYTES = 256
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


def sender_of(accepted: socket.SocketType) -> bytes:
    """Return the hardware address that opened a connection, or nothing.

    The kernel keeps none while it answers a flood with cookies.
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
