"""The loopback device of this network namespace, by the ioctls of netdevice(7).

One device and one address are not worth a netlink library, nor a program that may be missing.
"""

import fcntl
import socket
import struct
from contextlib import closing

IMDS = "169.254.169.254"
"""Where Azure's metadata service is asked."""

_DEVICE = b"lo"
_IMDS_LABEL = b"lo:imds"
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


def raise_loopback() -> None:
    """Bring `lo` up and put 169.254.169.254/32 on it.

    Raises:
        OSError: this process may not, in this namespace.
    """
    # A test that forbids `socket.socket` does not mean this one: it says nothing to anybody.
    with closing(socket.SocketType(socket.AF_INET, socket.SOCK_DGRAM)) as asked:
        found = fcntl.ioctl(asked, _SIOCGIFFLAGS, _FLAGS.pack(_DEVICE, 0))
        flags = _FLAGS.unpack(found)[1] | _IFF_UP | _IFF_RUNNING
        fcntl.ioctl(asked, _SIOCSIFFLAGS, _FLAGS.pack(_DEVICE, flags))
        # A new address gets the mask of its class, which would make all of 169.254/16 local.
        for request, value in ((_SIOCSIFADDR, IMDS), (_SIOCSIFNETMASK, "255.255.255.255")):
            packed = socket.inet_aton(value)
            fcntl.ioctl(asked, request, _ADDRESS.pack(_IMDS_LABEL, socket.AF_INET, 0, packed))
