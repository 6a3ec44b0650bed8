"""The bytes of a damaged response: pieces, pauses, and the connection's end.

These functions work on the bytes of a true response, and know no connection.
"""

import re
from collections.abc import Callable
from math import inf

from msgspec import Struct

from openimds.facts.faults import RESET
from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.matching import noise

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?<=\r\nContent-Length: )\d+")
_CHUNK = re.compile(rb"[0-9a-f]+")


class Script(Struct, frozen=True):
    """Pieces that go out one after another.

    The first piece goes after `first_s` seconds, each other one `pause_s` after the one before. The
    response ends `rest_s` after the last piece; an infinite `rest_s` never ends it. With `resets`
    the connection is reset then.
    """

    pieces: tuple[bytes, ...]
    first_s: float = 0
    pause_s: float = 0
    rest_s: float = 0
    resets: bool = False


def script(fault: Fault, response: bytes) -> Script:
    """Return the script of a response, empty if there is none, under a fault."""
    write = _SCRIPTS.get(fault.spec.effect)
    return write(fault, response) if write else Script((response,), fault.spec.delay_s)


def _trickle(fault: Fault, response: bytes) -> Script:
    size = fault.whole("bytes")
    pieces = tuple(response[at : at + size] for at in range(0, len(response), size))
    return Script(pieces, fault.spec.delay_s, fault.number_of("pause_s"))


def _cut(fault: Fault, response: bytes) -> Script:
    head, _, body = response.partition(_END)
    # One byte less than all is the least that is a cut.
    beginning = body[: min(fault.whole("keep_bytes"), max(0, len(body) - 1))]
    resets = fault.spec.parameters.get("ends_by") == RESET
    return Script((head + _END + beginning,), fault.spec.delay_s, resets=resets)


def _wrong_length(fault: Fault, response: bytes) -> Script:
    head, _, body = response.partition(_END)
    by = fault.whole("by_bytes")
    wrong, found = _LENGTH.subn(lambda length: b"%d" % max(0, int(length[0]) + by), head)
    if not found:  # The body is a chunk, which begins with its own length.
        body = _CHUNK.sub(lambda size: b"%x" % max(0, int(size[0], 16) + by), body, count=1)
    return Script((wrong + _END + body,), fault.spec.delay_s)


def _hang(fault: Fault, _response: bytes) -> Script:
    return Script((), fault.spec.delay_s, rest_s=fault.number_of("hang_s", inf))


def _reset(fault: Fault, _response: bytes) -> Script:
    return Script((), fault.spec.delay_s, resets=True)


def _garbage(fault: Fault, _response: bytes) -> Script:
    garbage = noise(fault.spec, fault.vm, fault.number, fault.whole("bytes"))
    return Script((garbage,), fault.spec.delay_s)


_SCRIPTS: dict[str, Callable[[Fault, bytes], Script]] = {
    "trickle": _trickle,
    "cut": _cut,
    "wrong-length": _wrong_length,
    "blackhole": _hang,
    "hang": _hang,
    "reset": _reset,
    "garbage": _garbage,
    "refused": _reset,
}
"""The effects that change more of a response than its time."""
