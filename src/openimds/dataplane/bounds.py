"""The bounds of the data plane: the most that a guest may use of it."""

from msgspec import Struct

READ_BYTES = 4096
"""The most that one read takes."""


class Bounds(Struct, frozen=True):
    """The most that a guest may use. Sizes are bytes, times are seconds."""

    target_bytes: int = 4096
    head_bytes: int = 16384
    header_count: int = 64
    body_bytes: int = 65536
    head_s: float = 10.0
    body_s: float = 10.0
    answer_s: float = 60.0
    idle_s: float = 120.0
    close_s: float = 5.0
    connections: int = 20000
    connections_per_caller: int = 1024
    unknown_callers: int = 1024
