"""How a reply goes out where the way to the guest is bad: in which pieces, when, and what ends it.

It works on the bytes of a reply as they would go out, and knows no connection.
"""

import re
from collections.abc import Callable
from math import inf

from msgspec import Struct

from openimds.protocol.faults.fault import Fault
from openimds.protocol.faults.matching import noise

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?<=\r\nContent-Length: )\d+")


class Script(Struct, frozen=True):
    """Pieces that go out one after another.

    The first goes after `first_s` seconds, each other one `pause_s` after the one before; `rest_s`
    after the last piece the reply is over, which is never where that is infinite. With `resets` the
    connection is reset then.
    """

    pieces: tuple[bytes, ...]
    first_s: float = 0
    pause_s: float = 0
    rest_s: float = 0
    resets: bool = False


def script(fault: Fault, said: bytes) -> Script:
    """Return how a reply goes out; of a fault without an answer `said` is empty."""
    make = _MADE.get(fault.plan.effect)
    return make(fault, said) if make else Script((said,), fault.plan.delay_s)


def _trickle(fault: Fault, said: bytes) -> Script:
    size = fault.whole("bytes")
    pieces = tuple(said[at : at + size] for at in range(0, len(said), size))
    return Script(pieces, fault.plan.delay_s, fault.number_of("pause_s"))


def _cut(fault: Fault, said: bytes) -> Script:
    head, _, body = said.partition(_END)
    # One byte less than all is the least that is a cut.
    kept = body[: min(fault.whole("keep_bytes"), max(0, len(body) - 1))]
    return Script((head + _END + kept,), fault.plan.delay_s)


def _wrong_length(fault: Fault, said: bytes) -> Script:
    head, _, body = said.partition(_END)
    by = fault.whole("by_bytes")
    wrong = _LENGTH.sub(lambda found: b"%d" % max(0, int(found[0]) + by), head)
    return Script((wrong + _END + body,), fault.plan.delay_s)


def _hang(fault: Fault, _said: bytes) -> Script:
    return Script((), fault.plan.delay_s, rest_s=fault.number_of("hang_s", inf))


def _reset(fault: Fault, _said: bytes) -> Script:
    return Script((), fault.plan.delay_s, resets=True)


def _garbage(fault: Fault, _said: bytes) -> Script:
    made = noise(fault.plan, fault.vm, fault.number, fault.whole("bytes"))
    return Script((made,), fault.plan.delay_s)


_MADE: dict[str, Callable[[Fault, bytes], Script]] = {
    "trickle": _trickle,
    "cut": _cut,
    "wrong-length": _wrong_length,
    "hang": _hang,
    "reset": _reset,
    "garbage": _garbage,
    "refused": _reset,
}
"""The effects that change more of a reply than its time."""
