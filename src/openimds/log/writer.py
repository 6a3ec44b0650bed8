"""A bounded queue of lines, and the thread that writes them.

stderr may be a pipe that nobody reads, a terminal that is stopped, or a disk that hangs. The thread
waits for it, and no other: beyond its bound the queue drops lines and counts them.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

MOST_LINES = 2048
"""The bound on the lines that wait; each has at most 4,096 bytes."""
MOST_ACCESS_LINES = 1024
"""A line of the access log is put behind at most so many: the others have room beside them."""
_BATCH_BYTES = 4096
"""So many bytes are written at once, which a pipe takes as a whole."""
Line: TypeAlias = bytes | Callable[[], bytes] | threading.Event
"""A line, its maker, which the thread calls, or an event to set when all before it is written."""


class LineWriter:
    """Writes lines in a thread of its own, which the first line starts."""

    def __init__(self, write: Callable[[bytes], None], most: int = MOST_LINES) -> None:
        """Write by a function that may block or raise OSError."""
        self._write, self._most = write, most
        self._queue: SimpleQueue[Line | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """The lines that found no room, or could not be made or written."""
        self.crowded_out = 0
        """Those of them that found no room."""
        self.on_idle: Callable[[], float | None] = lambda: None
        """Called by the thread when nothing waits; returns the seconds until the next call."""

    def put(self, line: Line, most: int | None = None) -> bool:
        """Have a line written; tell whether it has a place in the queue."""
        if self._queue.qsize() >= (self._most if most is None else most) or not self._begin():
            with self._lock:
                self.dropped += 1
                self.crowded_out += 1
            return False
        self._queue.put(line)
        return True

    @property
    def has_room(self) -> bool:
        """Tell whether half of the queue is free."""
        return self._queue.qsize() < self._most // 2

    def wake(self) -> None:
        """Have the thread call `on_idle` again."""
        if self._thread:
            self._queue.put(b"")

    def flush(self, patience_s: float) -> bool:
        """Wait until all lines so far are written; give up after some seconds."""
        written = threading.Event()
        if self._thread is None:
            return True
        self._queue.put(written)
        return written.wait(patience_s)

    def close(self, patience_s: float) -> None:
        """Write what waits; give up after some seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread:
            self._queue.put(None)
            thread.join(patience_s)

    def _begin(self) -> bool:
        """Start the thread if there is none yet; tell whether there is one now."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="log", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # The system has no thread left; a later line tries again.
                    return False
                self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            try:
                line = self._queue.get(timeout=self._idle())
            except Empty:
                continue
            lines: list[bytes] = []
            size = 0
            while line is not None:
                made = line if isinstance(line, bytes) else self._made(line, lines)
                if size + len(made) > _BATCH_BYTES and lines:
                    self._send(lines)
                    size = 0
                lines.append(made)
                size += len(made)
                try:
                    line = self._queue.get_nowait()
                except Empty:
                    break
            self._send(lines)
            if line is None:
                return

    def _made(self, line: Callable[[], bytes] | threading.Event, before: list[bytes]) -> bytes:
        """Return a maker's line; set an event once the lines before are written."""
        if not isinstance(line, threading.Event):
            try:
                return line()
            except Exception:  # noqa: BLE001 - one bad line must not end the log
                self._note_dropped(1)
                return b""
        self._send(before)
        line.set()
        return b""

    def _send(self, lines: list[bytes]) -> None:
        """Write lines, and forget them."""
        data = b"".join(lines)
        try:
            if data:
                self._write(data)
        except Exception:  # noqa: BLE001 - the other end is closed, the disk is full, or the like
            self._note_dropped(sum(map(bool, lines)))
        lines.clear()

    def _idle(self) -> float | None:
        try:
            return self.on_idle()
        except Exception:  # noqa: BLE001 - lines that come later are still written
            self._note_dropped(1)
            return None

    def _note_dropped(self, lines: int) -> None:
        with self._lock:
            self.dropped += lines
