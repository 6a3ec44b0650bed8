"""A log: it chooses events by level, bounds their rate, and counts their lines."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from openimds.log.event import Level, LogEvent, LogMessage
from openimds.log.events import LINES_DROPPED, LINES_OMITTED, NOTICE
from openimds.log.formats import LineFormat
from openimds.log.journal import write_all
from openimds.log.writer import MOST_ACCESS_LINES, LineWriter

WINDOW_S = 60.0
PATIENCE_S = 1.0
"""The longest wait at the end for what is still to be written."""


class _Window:
    """The lines of one event in a minute."""

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self.written = self.omitted = 0
        self.level = Level.DEBUG
        """The highest level of an omitted line."""


class OperatorLog:
    """The log of one server: called with a message, it writes a line without waiting.

    It may be called from any thread.
    """

    def __init__(
        self,
        format_: LineFormat,
        level: Level = Level.INFO,
        write: Callable[[bytes], None] = write_all,
        utc: Callable[[], float] = time.time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write events of this level and above; `now` is a steady clock in seconds."""
        self.format, self.level = format_, level
        self.writer = LineWriter(write)
        self.writer.on_idle = self._end_windows
        self._utc, self._now = utc, now
        self._counts: Counter[str] = Counter({level.title: 0 for level in Level})
        self._windows: dict[LogEvent, _Window] = {}
        self._reported_drops = self._reported_crowded = 0
        self._lock = threading.Lock()

    def __call__(self, message: str) -> None:
        """Write a message; a plain text is an event without fields."""
        event = message.event if isinstance(message, LogMessage) else NOTICE
        level = message.level if isinstance(message, LogMessage) else NOTICE.level
        if level < self.level:
            return
        if event.per_minute and not self._has_room(event, level):
            return
        self._put(message, level)

    def put(self, level: Level, make: Callable[[], bytes]) -> None:
        """Have the thread make a line of the access log, unless many wait."""
        if self.writer.put(make, MOST_ACCESS_LINES):
            with self._lock:
                self._counts[level.title] += 1

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of lines by level."""
        return self._counts

    @property
    def dropped(self) -> int:
        """The number of lines that were not written: there was no room, or no reader."""
        return self.writer.dropped

    def flush(self, patience_s: float = PATIENCE_S) -> bool:
        """Wait until all lines so far are written; give up after some seconds."""
        return self.writer.flush(patience_s)

    def close(self, patience_s: float = PATIENCE_S) -> None:
        """Write what waits, and the counts of omitted lines; give up after some seconds."""
        with self._lock:
            windows, self._windows = self._windows, {}
        for event, window in windows.items():
            self._report_omitted(event, window)
        self._report_drops()
        self.writer.close(patience_s)

    def _put(self, message: str, level: Level) -> None:
        self._report_drops()
        if self.writer.put(self.format.line(message, self._utc(), NOTICE)):
            with self._lock:
                self._counts[level.title] += 1

    def _has_room(self, event: LogEvent, level: Level) -> bool:
        """Tell whether a bounded event may have one more line in its minute."""
        now_s = self._now()
        is_first = False
        with self._lock:
            window = self._windows.get(event)
            if window is None or now_s >= window.until_s:
                before = window
                window = self._windows[event] = _Window(now_s + WINDOW_S)
            else:
                before = None
            has_room = window.written < event.per_minute
            if has_room:
                window.written += 1
            else:
                is_first = not window.omitted
                window.omitted += 1
                window.level = max(window.level, level)
        if before:
            self._report_omitted(event, before)
        if is_first:
            self.writer.wake()
        return has_room

    def _end_windows(self) -> float | None:
        """Report lines without room, and those left out of the minutes that have ended.

        Returns the seconds until the next such end, None without one.
        """
        # A line that could not be written waits for a message: its report would fail as well.
        if self.writer.crowded_out > self._reported_crowded:
            self._report_drops()
        now_s, ended = self._now(), list[tuple[LogEvent, _Window]]()
        with self._lock:
            for event, window in [*self._windows.items()]:
                if window.omitted and now_s >= window.until_s:
                    ended.append((event, window))
                    del self._windows[event]
            ends = [window.until_s for window in self._windows.values() if window.omitted]
        for event, window in ended:
            self._report_omitted(event, window)
        return max(0.0, min(ends) - now_s) if ends else None

    def _report_omitted(self, event: LogEvent, window: _Window) -> None:
        if omitted := window.omitted:
            sentence = (
                f"{omitted} lines of {event.name} are left out, beyond {event.per_minute} a minute"
            )
            message = LINES_OMITTED.at(window.level, sentence, name=event.name, omitted=omitted)
            self._put(message, window.level)

    def _report_drops(self) -> None:
        """Report lines that were dropped, once there is room again."""
        with self._lock:
            lost = self.writer.dropped - self._reported_drops if self.writer.has_room else 0
            self._reported_drops += lost
            if not lost:
                return
            self._reported_crowded = self.writer.crowded_out
            sentence = (
                f"{lost} lines of this log were not written: too many waited, or stderr took none"
            )
            # With the lock held, so that a message of another thread comes behind it.
            self.writer.put(
                self.format.line(LINES_DROPPED.message(sentence, lost=lost), self._utc(), NOTICE)
            )
