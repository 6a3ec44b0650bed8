"""Bring up `lo` in a network namespace, with Azure's metadata address on it."""

import socket
import struct
from collections.abc import Iterable
from contextlib import closing

IMDS = "169.254.169.254"
"""The address of Azure's metadata service."""
IMDS_OF_LOCAL = "169.254.169.253"
"""The address of the metadata service of Azure Local."""
PKI = "192.0.2.1"
"""A sandbox's address of Azure's PKI hosts (RFC 5737): verifiers refuse private ones."""

_DEVICE = b"lo"
_LABELS = {IMDS: b"lo:imds", IMDS_OF_LOCAL: b"lo:local", PKI: b"lo:pki"}
# struct ifreq: a name, and flags or an address.
_FLAGS = struct.Struct("16sH22x")
_ADDRESS = struct.Struct("16sHH4s16x")

# linux/sockios.h, net/if.h
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 0x1
_IFF_RUNNING = 0x40

LINK_LOCAL = frozenset({IMDS, IMDS_OF_LOCAL})
"""The addresses of metadata services: Azure's, and that of Azure Local."""


def raise_loopback(hosts: Iterable[str] = (IMDS,)) -> None:
    """Bring `lo` up, and put the known ones of these addresses on it.

    Raises:
        OSError: this process may not configure its network namespace.
    """
    import fcntl  # noqa: PLC0415 - other systems import this file, and some lack it

    # SocketType: pytest plugins that forbid `socket.socket` mean connections, not this ioctl.
    with closing(socket.SocketType(socket.AF_INET, socket.SOCK_DGRAM)) as control:
        present = fcntl.ioctl(control, _SIOCGIFFLAGS, _FLAGS.pack(_DEVICE, 0))
        flags = _FLAGS.unpack(present)[1] | _IFF_UP | _IFF_RUNNING
        fcntl.ioctl(control, _SIOCSIFFLAGS, _FLAGS.pack(_DEVICE, flags))
        # A new address gets the mask of its class, which would make all of 169.254/16 local.
        for host in _LABELS.keys() & set(hosts):
            for request, value in ((_SIOCSIFADDR, host), (_SIOCSIFNETMASK, "255.255.255.255")):
                packed = _ADDRESS.pack(_LABELS[host], socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, packed)
