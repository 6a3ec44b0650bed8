"""Routing rules that keep a sandbox's traffic to cloud metadata addresses from leaving it.

A routing rule precedes every route except those to the network's own addresses. So the rules hold
for routes that are added later, while 169.254.169.254 on `lo` stays reachable.
"""

import errno
import os
import socket
import struct
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network, IPv6Address

BLACKHOLED = (IPv4Network("169.254.0.0/16"), IPv4Network("168.63.129.16/32"))
"""Where Azure and other platforms serve their VMs."""

# linux/netlink.h, linux/rtnetlink.h, linux/fib_rules.h
_HEADER = struct.Struct("=IHHII")
_RULE = struct.Struct("=BBBBBxxBI")
_ATTRIBUTE = struct.Struct("=HH4s")
_ACK = struct.Struct("=16xi")
_NEW_RULE = 32
_REQUEST_AND_CREATE = 0x1 | 0x4 | 0x200 | 0x400
_UNREACHABLE = 7
_DESTINATION = 1
_PRIORITY = 6
_BEFORE_ALL_BUT_LOCAL = struct.pack("=I", 1)


def add_blackhole_rules() -> None:
    """Make the blackholed networks unreachable in this network namespace.

    Raises:
        OSError: this process may not add rules, or the kernel has no policy routing.
    """
    kind = socket.SOCK_RAW
    with closing(socket.SocketType(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)) as netlink:
        for network in BLACKHOLED:
            netlink.send(_rule(network))
            (error,) = _ACK.unpack_from(netlink.recv(1 << 12))
            if -error not in (0, errno.EEXIST):
                raise OSError(-error, os.strerror(-error), f"the rule for {network}")


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
    """Tell whether the blackhole rules match an address."""
    return any(address in network for network in BLACKHOLED)
