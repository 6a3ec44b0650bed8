"""What a warden and the first process of a cell say to each other."""

import socket
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

_LONGEST = 1 << 16
_MOST_SOCKETS = 16


class SandboxSpec(Struct, frozen=True):
    """What a cell shall be: its name, what runs in it, and where sockets listen for it.

    `streams` are what COMMAND gets instead of the warden's standard streams, if it gets others.
    With `is_online` it has a way out of its network.
    """

    name: str
    command: tuple[str, ...]
    listen: tuple[tuple[str, int], ...]
    is_online: bool = False
    streams: tuple[int, ...] = ()


class InitStarted(Struct, tag=True):
    """There is a first process, and this is its id outside."""

    pid: int


class Opened(Struct, tag=True):
    """The sockets listen; they come with this word, in the order of the spec.

    `proc` is where the cell finds the first process in /proc.
    """

    proc: str


class Refused(Struct, tag=True):
    """There will be no cell. `is_final` where another way to make one would not help."""

    text: str
    is_final: bool = False


class Online(Struct, tag=True):
    """There is a way out."""


class Ended(Struct, tag=True):
    """COMMAND has ended, with this status as wait(2) has it."""

    status: int


class StartCommand(Struct, tag=True):
    """Start COMMAND, with these variables besides those of the warden."""

    variables: dict[str, str]


class ForwardSignal(Struct, tag=True):
    """Send COMMAND a signal."""

    signal: int


Report = InitStarted | Opened | Refused | Online | Ended
Order = StartCommand | ForwardSignal
_REPORTS: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
_ORDERS: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


def message_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a line that keeps messages apart and says when the other end is gone."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(line: socket.socket, word: Report | Order, sockets: Sequence[socket.socket] = ()) -> None:
    """Send a word, and sockets with it; whoever is gone hears nothing."""
    with suppress(BrokenPipeError, ConnectionResetError):
        descriptors = [one.fileno() for one in sockets]
        socket.send_fds(line, [msgspec.json.encode(word)], descriptors)


def receive_report(line: socket.socket) -> tuple[Report | None, list[socket.socket]]:
    """Return the next word of a first process and its sockets; none when it is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(line, _LONGEST, _MOST_SOCKETS)
    except ConnectionResetError:
        return None, []
    sockets = [socket.socket(fileno=one) for one in descriptors]
    return (_REPORTS.decode(data) if data else None), sockets


def receive_order(line: socket.socket) -> Order | None:
    """Return the next word of a warden; none when it is gone."""
    try:
        data = line.recv(_LONGEST)
    except ConnectionResetError:
        return None
    return _ORDERS.decode(data) if data else None
