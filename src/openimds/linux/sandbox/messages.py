"""The messages between the supervisor and the init process of a sandbox."""

import socket
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

_MAX_MESSAGE = 1 << 16
_MAX_SOCKETS = 16


class SandboxSpec(Struct, frozen=True):
    """The wanted sandbox: its name, its command, and the addresses that it listens on.

    With `is_online` it has egress by pasta. `streams` replace the supervisor's standard streams for
    COMMAND, if there are any. `hosts` are names that its hosts file maps to addresses.
    """

    name: str
    command: tuple[str, ...]
    listen: tuple[tuple[str, int], ...]
    is_online: bool = False
    streams: tuple[int, ...] = ()
    hosts: dict[str, str] = {}


class InitStarted(Struct, tag=True):
    """The init process runs; `pid` is its id outside the sandbox."""

    pid: int


class Opened(Struct, tag=True):
    """The sockets listen; they come with this message, in the order of `SandboxSpec.listen`.

    `proc` is the path of the init process in the sandbox's /proc.
    """

    proc: str


class Refused(Struct, tag=True):
    """The sandbox cannot be made. `is_final`: another way to make it would fail as well."""

    text: str
    is_final: bool = False


class Online(Struct, tag=True):
    """The sandbox has egress."""


class Ended(Struct, tag=True):
    """COMMAND has ended; `status` is that of wait(2)."""

    status: int


class StartCommand(Struct, tag=True):
    """Start COMMAND with these variables added to the supervisor's environment."""

    variables: dict[str, str]


class ForwardSignal(Struct, tag=True):
    """Send a signal to COMMAND."""

    signal: int


Report = InitStarted | Opened | Refused | Online | Ended
"""A message from the init process."""
Order = StartCommand | ForwardSignal
"""A message from the supervisor."""
_REPORTS: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
_ORDERS: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


def message_pair() -> tuple[socket.socket, socket.socket]:
    """Return a socket pair that preserves message boundaries and shows a closed peer."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(
    channel: socket.socket, message: Report | Order, sockets: Sequence[socket.socket] = ()
) -> None:
    """Send a message, and sockets with it; ignore a peer that has ended."""
    with suppress(BrokenPipeError, ConnectionResetError):
        descriptors = [item.fileno() for item in sockets]
        socket.send_fds(channel, [msgspec.json.encode(message)], descriptors)


def receive_report(channel: socket.socket) -> tuple[Report | None, list[socket.socket]]:
    """Return the next report and its sockets; None after the init process has ended."""
    try:
        data, descriptors, _, _ = socket.recv_fds(channel, _MAX_MESSAGE, _MAX_SOCKETS)
    except ConnectionResetError:
        return None, []
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    return (_REPORTS.decode(data) if data else None), sockets


def receive_order(channel: socket.socket) -> Order | None:
    """Return the next order of the supervisor; None after it has ended."""
    try:
        data = channel.recv(_MAX_MESSAGE)
    except ConnectionResetError:
        return None
    return _ORDERS.decode(data) if data else None
