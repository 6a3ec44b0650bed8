"""The loopback device of this network namespace, by the ioctls of netdevice(7).

Three addresses and a route are not worth a netlink library, nor a program that may be missing.
"""

import fcntl
import socket
import struct
from contextlib import closing
from ipaddress import IPv4Network

IMDS = "169.254.169.254"
"""Where Azure's metadata service is asked."""

_DEVICE = "lo"
_IMDS_LABEL = "lo:imds"
_FLAGS = struct.Struct("16sH22x")
_ADDRESS = struct.Struct("16sHH4s16x")
# struct rtentry up to its flags; what follows stays zero.
_ROUTE = struct.Struct("@L16s16s16sH62x")
_SOCKADDR = struct.Struct("HH4s8x")

# linux/sockios.h, net/if.h, net/route.h
_SIOCADDRT = 0x890B
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_RTF_UP = 0x1
_RTF_REJECT = 0x200
_EEXIST = 17

_KEPT_IN = ("169.254.0.0/16", "168.63.129.16/32")
"""Where Azure's platform answers its VMs; no private network lets a packet out to them."""


def raise_loopback() -> None:
    """Bring `lo` up and put 169.254.169.254/32 on it.

    Raises:
        OSError: this process may not, in this namespace.
    """
    with _asked() as asked:
        found = fcntl.ioctl(asked, _SIOCGIFFLAGS, _FLAGS.pack(_DEVICE.encode(), 0))
        flags = _FLAGS.unpack(found)[1] | _IFF_UP | _IFF_RUNNING
        fcntl.ioctl(asked, _SIOCSIFFLAGS, _FLAGS.pack(_DEVICE.encode(), flags))
        # A new address gets the mask of its class, which would make all of 169.254/16 local.
        for request, value in ((_SIOCSIFADDR, IMDS), (_SIOCSIFNETMASK, "255.255.255.255")):
            packed = socket.inet_aton(value)
            named = _ADDRESS.pack(_IMDS_LABEL.encode(), socket.AF_INET, 0, packed)
            fcntl.ioctl(asked, request, named)


def keep_in() -> None:
    """Make what belongs to Azure's platform unreachable, but for the address on `lo`.

    Raises:
        OSError: this process may not, in this namespace.
    """
    with _asked() as asked:
        for text in _KEPT_IN:
            network = IPv4Network(text)
            route = _ROUTE.pack(
                0,
                _sockaddr(str(network.network_address)),
                _sockaddr("0.0.0.0"),  # noqa: S104 - no gateway; nothing is bound
                _sockaddr(str(network.netmask)),
                _RTF_UP | _RTF_REJECT,
            )
            try:
                fcntl.ioctl(asked, _SIOCADDRT, route)
            except OSError as error:
                if error.errno != _EEXIST:
                    raise


def _asked() -> closing[socket.SocketType]:
    """Return a socket for ioctls; a test that forbids `socket.socket` does not mean this one."""
    return closing(socket.SocketType(socket.AF_INET, socket.SOCK_DGRAM))


def _sockaddr(address: str) -> bytes:
    return _SOCKADDR.pack(socket.AF_INET, 0, socket.inet_aton(address))
