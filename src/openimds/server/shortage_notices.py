"""Notices of shortages: no file descriptor or memory is left for a new connection."""

import errno
from collections.abc import Callable

from openimds.log.events import CONNECTIONS_PAUSED

NOTICE_S = 60.0
"""The shortest time between two notices: a shortage pauses accepting ten times a second."""
_REMEDIES = {
    errno.EMFILE: (
        "Raise the limit of open files (ulimit -Hn, LimitNOFILE= of systemd), or lower "
        "--max-connections"
    ),
    errno.ENFILE: "Raise the limit of this machine: sysctl fs.file-max",
}
_MEMORY = "Free memory, or lower --max-connections"


class ShortageNotices:
    """Counts the pauses of accepting, and reports them at most once a minute."""

    def __init__(self, notify: Callable[[str], None], now: Callable[[], float]) -> None:
        """Report by `notify`; `now` is a steady clock in seconds."""
        self._notify, self._now = notify, now
        self.pauses = 0
        self._reported = 0
        self._reported_s = -NOTICE_S

    def note(self, error: OSError) -> None:
        """Count a pause; report all since the last notice if that is a minute old."""
        self.pauses += 1
        now_s = self._now()
        if now_s - self._reported_s < NOTICE_S:
            return
        count = self.pauses - self._reported
        self._reported, self._reported_s = self.pauses, now_s
        times = "once" if count == 1 else f"{count} times"
        remedy = _REMEDIES.get(error.errno or 0, _MEMORY)
        self._notify(
            CONNECTIONS_PAUSED.message(
                f"accepting connections paused {times} ({error.strerror}): callers wait, and open "
                f"connections are served on. {remedy}",
                times=count,
                reason=error.strerror or str(error),
            )
        )
