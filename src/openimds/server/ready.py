"""The facts of a server that accepts connections."""

from msgspec import Struct


class LocalCaller(Struct, frozen=True):
    """A source address of this machine that belongs to a VM."""

    address: str
    has_token: bool


class Ready(Struct, frozen=True):
    """URLs of a server that accepts connections, and its token file.

    `caller` is a source address from which a program on this machine is a VM, if there is one.
    """

    imds: str
    admin: str | None
    token_file: str | None
    public: str | None = None
    caller: LocalCaller | None = None
