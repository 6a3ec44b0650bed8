"""Who looks on: what was asked and what was said, for those who want to know.

Nobody looks on unless asked to. While somebody does, requests are parsed one by one instead of
being known by their bytes, so that not looking costs nothing.
"""

from typing import Protocol

from msgspec import Struct

from openimds.wire.reply import Reply


class Heard(Struct, frozen=True):
    """A request as it came: when, from whom, and every header with its name in lower case.

    `vm` is empty for a caller who is no VM, `target` for bytes that were no request we take.
    `now_s` is the steady clock of limits, `utc_s` that of dates. `fault` is the effect that was
    played on it (a key of `spec.faults.EFFECTS`), empty where nothing went wrong on request.
    """

    utc_s: float
    now_s: float
    vm: str
    peer: str
    method: str
    target: bytes
    headers: tuple[tuple[str, str], ...]
    body: bytes
    fault: str = ""


class Watcher(Protocol):
    """Is told of every request once its answer is known."""

    def note(self, heard: Heard, reply: Reply, said: bytes) -> None:
        """Take note; `said` are the bytes that go out.

        Where a fault leaves a request without an answer, `said` is what it sends instead (often
        nothing), and the status that `reply` counts as is 0.
        """
        ...
