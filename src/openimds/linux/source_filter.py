"""Filters of listening sockets: the kernel drops the packets of some source addresses.

A classic BPF filter on a listening socket sees each packet of a handshake. It needs no firewall and
no turn of the server: a connection from a dropped address is never answered. It needs no privilege
either, but on the newest kernels (seen on 6.18.44), which want NET_ADMIN over the namespace of a
TCP socket; a namespace of one's own is enough.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from openimds.linux.platform import IS_LINUX

MOST_SOURCES = 128
"""The most addresses of a filter: with IPv6 its program fills most of a socket's option memory."""

# asm-generic/socket.h
_ATTACH_FILTER = 26
_DETACH_FILTER = 27

# linux/filter.h
_LOAD_BYTE, _LOAD_WORD, _LOAD_KEPT, _KEEP = 0x30, 0x20, 0x60, 0x02
_AND, _JUMP, _JUMP_EQUAL, _RETURN = 0x54, 0x05, 0x15, 0x06
_MARK = 2**32 - 0x1000 + 20
"""The mark of a packet (SKF_AD_OFF + SKF_AD_MARK)."""
_NETWORK_HEADER = 2**32 - 0x100000
"""Where offsets of the IP header begin (SKF_NET_OFF)."""
_KEEP_ALL, _DROP = 2**32 - 1, 0

# RFC 791, 3.1 and RFC 8200, 3.
_VERSION_MASK, _VERSION_4 = 0xF0, 0x40
_SOURCE_4, _SOURCE_6 = 12, 8

_Instruction = tuple[int, int, int, int]
"""The code, the jumps if true and if false, and the operand of an instruction."""


def check(bound: socket.socket, mark: int = 0) -> None:
    """Check that filters can be attached to a socket, by one that drops nothing.

    A socket that drops packets without a mark keeps doing so.

    Raises:
        OSError: this system has none, or (EPERM) its kernel wants NET_ADMIN for those of TCP.
    """
    attach(bound, (), mark)
    if not mark:
        detach(bound)


def attach(listening: socket.socket, sources: Iterable[str] | None, mark: int = 0) -> None:
    """Drop packets from these addresses, or from all if None.

    With `mark`, packets without this mark are dropped, too. The filter
    replaces an earlier one, and has at most `MOST_SOURCES` addresses. Connections that are accepted
    later have it, too.

    Raises:
        OSError: this system has no such filter, or no memory for it.
    """
    if not IS_LINUX:
        raise OSError(errno.ENOPROTOOPT, "this system has no filters of sockets")
    marked: list[_Instruction] = [
        (_LOAD_WORD, 0, 0, _MARK),
        (_JUMP_EQUAL, 1, 0, mark),
        (_RETURN, 0, 0, _DROP),
    ]
    instructions = [*(marked if mark else ()), *_program(sources)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


def detach(listening: socket.socket) -> None:
    """Remove the filter of a socket, if it has one."""
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def _program(sources: Iterable[str] | None) -> list[_Instruction]:
    if sources is None:
        return [(_RETURN, 0, 0, _DROP)]
    # The name of an interface behind an address of IPv6 is not in its packets.
    found = sorted({ip_address(text.partition("%")[0]) for text in sources}, key=str)
    of_4 = [int(address) for address in found if isinstance(address, IPv4Address)]
    of_6 = [address.packed for address in found if isinstance(address, IPv6Address)]
    assert len(found) <= MOST_SOURCES
    version_4: list[_Instruction] = [(_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_4)]
    for number in of_4:
        version_4 += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DROP)]
    version_4.append((_RETURN, 0, 0, _KEEP_ALL))
    return [
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_AND, 0, 0, _VERSION_MASK),
        # A conditional jump spans 255 instructions at most.
        (_JUMP_EQUAL, 1, 0, _VERSION_4),
        (_JUMP, 0, 0, len(version_4)),
        *version_4,
        *_version_6(of_6),
    ]


def _version_6(addresses: list[bytes]) -> list[_Instruction]:
    """Return the part of a program that compares the four words of each address."""
    part: list[_Instruction] = []
    for place in range(4):
        part += [
            (_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE_6 + 4 * place),
            (_KEEP, 0, 0, place),
        ]
    for address in addresses:
        for place, word in enumerate(struct.unpack("!4I", address)):
            rest = 2 * (3 - place) + 1
            part += [(_LOAD_KEPT, 0, 0, place), (_JUMP_EQUAL, 0, rest, word)]
        part.append((_RETURN, 0, 0, _DROP))
    return [*part, (_RETURN, 0, 0, _KEEP_ALL)]
