"""Sockets, keys and a token that the starter of a server passes to it."""

import socket
from typing import TYPE_CHECKING

from msgspec import Struct

from openimds.admin.token import AdminToken

if TYPE_CHECKING:
    from openimds.credentials.keys.files import MakeKey
    from openimds.linux.memory_file import MemoryFile


class InheritedSockets(Struct, frozen=True):
    """Listening sockets that a server serves instead of opening those of the settings.

    They come from the init process of a sandbox, or from systemd; the server closes them. Each
    socket of `dataplane` is paired with the name of the VM that answers on it, or with "" where the
    caller's source address decides. With `is_exclusive`, the server opens no other listener of the
    data plane, not even for `reach.listen` of a VM. `make_key` supplies new private keys, `token`
    is that of the admin API; both have a default. The sockets of `public_tls` serve what those of
    `public` do, by https, under a root that the server makes and writes to `trust`. With
    `are_of_settings`, those of the ports were bound as the settings say.
    """

    dataplane: tuple[tuple[socket.socket, str], ...] = ()
    admin: tuple[socket.socket, ...] = ()
    public: tuple[socket.socket, ...] = ()
    make_key: "MakeKey | None" = None
    token: AdminToken | None = None
    is_exclusive: bool = False
    are_of_settings: bool = False
    public_tls: tuple[socket.socket, ...] = ()
    metrics: tuple[socket.socket, ...] = ()
    trust: "MemoryFile | None" = None
