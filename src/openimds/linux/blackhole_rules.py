"""What no private network lets out, whatever way out it has.

A rule of routing comes before every route but those of the network's own addresses, so it holds
whoever adds routes later, and 169.254.169.254 on `lo` is still there.
"""

import errno
import fcntl
import os
import socket
import struct
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network, IPv6Address

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

BLACKHOLED = (IPv4Network("169.254.0.0/16"), IPv4Network("168.63.129.16/32"))
"""Where the platforms of Azure and of others answer their VMs."""

# linux/netlink.h, linux/rtnetlink.h, linux/fib_rules.h
_HEADER = struct.Struct("=IHHII")
_RULE = struct.Struct("=BBBBBxxBI")
_ATTRIBUTE = struct.Struct("=HH4s")
_ANSWER = struct.Struct("=16xi")
_NEW_RULE = 32
_REQUEST_AND_CREATE = 0x1 | 0x4 | 0x200 | 0x400
_UNREACHABLE = 7
_DESTINATION = 1
_PRIORITY = 6
_BEFORE_ALL_BUT_LOCAL = struct.pack("=I", 1)


def add_blackhole_rules() -> None:
    """Make what is kept in unreachable in this network namespace.

    Raises:
        OSError: this process may not, or the kernel has no rules of routing.
    """
    kind = socket.SOCK_RAW
    with closing(socket.SocketType(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)) as asked:
        for network in BLACKHOLED:
            asked.send(_rule(network))
            (failed,) = _ANSWER.unpack_from(asked.recv(1 << 12))
            if -failed not in (0, errno.EEXIST):
                raise OSError(-failed, os.strerror(-failed), f"the rule for {network}")


def _rule(network: IPv4Network) -> bytes:
    body = _RULE.pack(socket.AF_INET, network.prefixlen, 0, 0, 0, _UNREACHABLE, 0)
    for kind, value in (
        (_DESTINATION, network.network_address.packed),
        (_PRIORITY, _BEFORE_ALL_BUT_LOCAL),
    ):
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size, kind, value)
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, _NEW_RULE, _REQUEST_AND_CREATE, 1, 0) + body


def is_blackholed(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether no packet to an address leaves a private network."""
    return any(address in network for network in BLACKHOLED)


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
