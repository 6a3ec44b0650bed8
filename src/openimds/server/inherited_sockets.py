"""What a server is handed by whoever starts it: sockets that listen already, keys, a token."""

import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from openimds.admin.token import AdminToken

if TYPE_CHECKING:
    from openimds.credentials.keys.files import MakeKey


class InheritedSockets(Struct, frozen=True):
    """Sockets that are served instead of those that the settings would open, and new keys.

    The sockets come from a namespace's first process, or from systemd. Each of `dispatcher` comes
    with the name of the VM that it answers as, or with nothing where the source address tells.
    Whoever gives a socket has no more to do with it: the server closes it. `make_key` is where new
    keys come from, if they are not to be made; `token` is what the admin API wants, if it is not
    that of the state directory. With `is_all` no listener is opened besides, whatever VMs say.
    """

    dispatcher: tuple[tuple[socket.socket, str], ...] = ()
    admin: tuple[socket.socket, ...] = ()
    public: tuple[socket.socket, ...] = ()
    make_key: "MakeKey | None" = None
    token: AdminToken | None = None
    is_all: bool = False
