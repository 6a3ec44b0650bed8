"""What no private network lets out, whatever way out it has.

A rule of routing comes before every route but those of the network's own addresses, so it holds
whoever adds routes later, and 169.254.169.254 on `lo` is still there.
"""

import errno
import os
import socket
import struct
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network, IPv6Address

KEPT_IN = (IPv4Network("169.254.0.0/16"), IPv4Network("168.63.129.16/32"))
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


def keep_in() -> None:
    """Make what is kept in unreachable in this network namespace.

    Raises:
        OSError: this process may not, or the kernel has no rules of routing.
    """
    kind = socket.SOCK_RAW
    with closing(socket.SocketType(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)) as asked:
        for network in KEPT_IN:
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


def is_kept_in(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether no packet to an address leaves a private network."""
    return any(address in network for network in KEPT_IN)
