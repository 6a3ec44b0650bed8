"""Forged Ethernet frames, and a program that sends and captures frames.

The program takes the name of an interface. `send` puts the frames of stdin on it, one in a line of
hexadecimal; `capture` prints each incoming frame, until stdin ends.
"""

import select
import socket
import struct
import sys
from ipaddress import ip_address

ARP, IPV4, IPV6, VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
BROADCAST = "ff:ff:ff:ff:ff:ff"
_PORT = 40000
_ALL = 0x0003  # ETH_P_ALL


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(to: str, by: str, kind: int, body: bytes, *vlans: int | None) -> bytes:
    """Return an Ethernet frame; each number adds a tag of that VLAN, the outermost first."""
    tags = b"".join(struct.pack("!HH", VLAN, vlan) for vlan in vlans if vlan is not None)
    return mac(to) + mac(by) + tags + struct.pack("!H", kind) + body


def syn(
    source: str, target: str, port: int = 80, acknowledged: int = 0, *, by_port: int = _PORT
) -> bytes:
    """Return an IP packet that opens a TCP connection."""
    from_ip, to_ip = ip_address(source), ip_address(target)
    head = struct.pack("!HHIIBBHHH", by_port, port, 1, acknowledged, 5 << 4, 2, 64240, 0, 0)
    pseudo = from_ip.packed + to_ip.packed + struct.pack("!II", len(head), socket.IPPROTO_TCP)
    tcp = head[:16] + struct.pack("!H", _checksum(pseudo + head)) + head[18:]
    if from_ip.version == 6:
        first = struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64)
        return first + from_ip.packed + to_ip.packed + tcp
    first = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, socket.IPPROTO_TCP, 0)
    whole = first + from_ip.packed + to_ip.packed
    return whole[:10] + header_checksum(whole) + whole[12:] + tcp


def arp_reply(address: str, at: str) -> bytes:
    """Return an ARP reply that binds an address to a hardware address."""
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, 2)
    return head + (mac(at) + ip_address(address).packed) * 2


def neighbour_advertisement(address: str, at: str, by: str) -> bytes:
    """Return an IPv6 packet to all nodes that binds an address to a hardware address."""
    source, target = ip_address(by).packed, ip_address("ff02::1").packed
    about = ip_address(address).packed
    message = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + about + b"\2\1" + mac(at)
    pseudo = source + target + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    first = struct.pack("!IHBB", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255)
    return first + source + target + message


def is_tcp(data: bytes) -> bool:
    """Tell whether a frame carries TCP over IPv4."""
    return kind_of(data) == IPV4 and data[23] == socket.IPPROTO_TCP


def kind_of(data: bytes) -> int:
    """Return the EtherType of a frame."""
    return int.from_bytes(data[12:14])


def header_checksum(header: bytes) -> bytes:
    """Return the checksum of an IPv4 header whose own is zero."""
    return struct.pack("!H", _checksum(header))


def _checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main(action: str, interface: str) -> None:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    wire.bind((interface, 0))
    if action == "send":
        for line in sys.stdin:
            wire.send(bytes.fromhex(line))
        return
    print("capturing", flush=True)  # noqa: T201 - the protocol
    while True:
        ready, _, _ = select.select([wire, sys.stdin], [], [])
        if wire in ready:
            data, (_, _, kind, *_) = wire.recvfrom(65536)
            if kind != socket.PACKET_OUTGOING:
                print(data.hex(), flush=True)  # noqa: T201 - as above
        elif sys.stdin in ready:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
