"""The facts of a server that accepts connections."""

from msgspec import Struct


class LocalCaller(Struct, frozen=True):
    """A way in which a program on this machine is a VM.

    It calls `url`, where one is named from the source `address`, or inside the namespace `netns`.
    """

    vm: str
    url: str
    address: str = ""
    netns: str = ""
    has_token: bool = False


class Ready(Struct, frozen=True):
    """URLs of a server that accepts connections, and its token file.

    `callers` are ways in which a program on this machine is one of the first VMs. `metrics` is the
    URL of the listener for metrics alone.
    """

    imds: str
    admin: str | None
    token_file: str | None
    public: str | None = None
    callers: tuple[LocalCaller, ...] = ()
    metrics: str | None = None
