"""Interleave the output of several commands line by line, each line labelled with its VM."""

import os
from contextlib import suppress

_MAX_LINE = 1 << 16
_READ_SIZE = 1 << 16


class OutputMultiplexer:
    """Copies the output of one command to a descriptor, in whole labelled lines."""

    def __init__(self, name: str, target: int) -> None:
        """Open the pipe; `write_end`, closed on exec, is for the command."""
        self.descriptor, self.write_end = os.pipe()
        os.set_blocking(self.descriptor, False)
        self._prefix = f"{name}| ".encode()
        self._target = target
        self._rest = b""
        self._is_open = True

    def forward(self) -> bool:
        """Copy available lines, or some of many; tell whether more may come."""
        with suppress(BlockingIOError):
            if not self._copy(os.read(self.descriptor, _READ_SIZE)):
                self.close_read_end()
        return self._is_open

    def close(self) -> None:
        """Copy the rest, after the last writer has ended."""
        with suppress(BlockingIOError):
            while self._is_open and self._copy(os.read(self.descriptor, _READ_SIZE)):
                pass
        self.close_read_end()

    def _copy(self, data: bytes) -> bool:
        """Write whole lines; tell whether more may come and the target is still read."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) > _MAX_LINE):
            # The output ended without a newline, or the line is too long to wait for one.
            lines.append(self._rest)
            self._rest = b""
        return self._write(lines) and bool(data)

    def close_read_end(self) -> None:
        """Close the read end: writers get SIGPIPE or EPIPE from the kernel."""
        if self._is_open:
            self._is_open = False
            os.close(self.descriptor)

    def _write(self, lines: list[bytes]) -> bool:
        text = b"".join(self._prefix + line + b"\n" for line in lines)
        while text:
            try:
                text = text[os.write(self._target, text) :]
            except OSError:
                return False
        return True
