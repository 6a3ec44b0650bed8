"""What several commands print at once, line by line, each with the name of its VM before it."""

import os
from contextlib import suppress

_LONGEST = 1 << 16
_PIECE = 1 << 16


class OutputMultiplexer:
    """What comes out of a pipe goes to a descriptor in whole lines."""

    def __init__(self, name: str, to: int) -> None:
        """Open the pipe; `into` is the end for the command, closed on exec."""
        self.descriptor, self.into = os.pipe()
        os.set_blocking(self.descriptor, False)
        self._prefix = f"{name}| ".encode()
        self._to = to
        self._rest = b""
        self._is_open = True

    def forward(self) -> bool:
        """Pass on the lines that are there, or some of many; tell whether more may come."""
        with suppress(BlockingIOError):
            if not self._pass_on(os.read(self.descriptor, _PIECE)):
                self.let_go()
        return self._is_open

    def close(self) -> None:
        """Pass on what is left, once nobody writes any more."""
        with suppress(BlockingIOError):
            while self._is_open and self._pass_on(os.read(self.descriptor, _PIECE)):
                pass
        self.let_go()

    def _pass_on(self, data: bytes) -> bool:
        """Write whole lines; tell whether there may be more, and somebody who reads them."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (not data or len(self._rest) > _LONGEST):
            # It has ended without an end, or nobody waits for one.
            whole.append(self._rest)
            self._rest = b""
        return self._write(whole) and bool(data)

    def let_go(self) -> None:
        """Close our end: whoever writes is told by the kernel when nobody has it open any more."""
        if self._is_open:
            self._is_open = False
            os.close(self.descriptor)

    def _write(self, lines: list[bytes]) -> bool:
        text = b"".join(self._prefix + line + b"\n" for line in lines)
        while text:
            try:
                text = text[os.write(self._to, text) :]
            except OSError:
                return False
        return True
