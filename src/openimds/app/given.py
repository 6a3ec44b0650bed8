"""Listening sockets that somebody else has opened: a namespace's first process, or systemd."""

import socket

from msgspec import Struct


class Given(Struct, frozen=True):
    """Sockets that are served instead of those that the settings would open.

    Each of `plane` comes with the name of the VM that it answers as, or with nothing where the
    source address tells. Whoever gives a socket has no more to do with it: the server closes it.
    """

    plane: tuple[tuple[socket.socket, str], ...] = ()
    admin: tuple[socket.socket, ...] = ()
    public: tuple[socket.socket, ...] = ()
