"""Parser of an HTTP answer that keeps its bytes as they arrived."""

import re

from openimds.errors import Error

_LINE = re.compile(rb"HTTP/\d\.\d (\d{3})(?: .*)?")
_MOST_HEAD_BYTES = 1 << 16
_MOST_BODY_BYTES = 1 << 22
_NO_BODY = (204, 304)
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?")


class MessageError(Error):
    """The bytes are not an HTTP answer, or exceed a bound."""


class Message:
    """One answer; `line` and `headers` are set after the head, `body` at the end."""

    def __init__(self, method: str) -> None:
        """Take the method of the request, because HEAD has no body."""
        self.line = b""
        self.headers: tuple[bytes, ...] = ()
        self.body = b""
        self._has_no_body = method == "HEAD"
        self._length: int | None = None
        self._is_chunked = False
        self._left = b""

    def feed(self, data: bytes) -> bool:
        """Take more bytes; return whether the answer is whole.

        Raises:
            MessageError: the bytes are not an HTTP answer, or too many.
        """
        self._left += data
        while not self.line:
            if not self._head():
                return False
        if len(self._left) > _MOST_BODY_BYTES:
            raise MessageError(f"a body of more than {_MOST_BODY_BYTES} bytes")
        if self._is_chunked:
            return self._chunks()
        if self._length is not None and len(self._left) >= self._length:
            self.body = self._left[: self._length]
            return True
        return False

    def end(self) -> None:
        """Take the end of the connection.

        Raises:
            MessageError: the answer is not whole.
        """
        if not self.line:
            seen = f"only {self._left[:40]!r}" if self._left else "nothing"
            raise MessageError(f"the connection ended after {seen}")
        if self._is_chunked or self._length is not None:
            of = "chunks without an end" if self._is_chunked else f"{self._length} bytes"
            raise MessageError(f"the connection ended after {len(self._left)} bytes of {of}")
        self.body = self._left

    def value(self, name: bytes) -> bytes:
        """Return the value of a header by its lower-case name, else the empty string."""
        for header in self.headers:
            own, _, value = header.partition(b":")
            if own.strip().lower() == name:
                return value.strip()
        return b""

    def _head(self) -> bool:
        """Parse a whole head, or skip one of 1xx; return whether to go on."""
        head, end, rest = self._left.partition(b"\r\n\r\n")
        line, *headers = head.split(b"\r\n")
        if len(head) > _MOST_HEAD_BYTES:
            raise MessageError(f"headers of more than {_MOST_HEAD_BYTES} bytes")
        if end and not _LINE.fullmatch(line):
            raise MessageError(f"not HTTP: {line[:60]!r}")
        if not end:
            return False
        self._left = rest
        if line.split()[1].startswith(b"1"):
            return bool(rest)
        self.line, self.headers = line, tuple(headers)
        self._frame(int(line.split()[1]))
        return True

    def _frame(self, status: int) -> None:
        """Set how the end of the body is found (RFC 9112, section 6.3)."""
        length = self.value(b"content-length")
        if self._has_no_body or status in _NO_BODY:
            self._length = 0
        elif b"chunked" in self.value(b"transfer-encoding").lower():
            self._is_chunked = True
        elif length.isdigit():
            self._length = int(length)
        elif length:
            raise MessageError(f"Content-Length: {length[:20]!r}")

    def _chunks(self) -> bool:
        """Join the chunks if all are there."""
        body, left = b"", self._left
        while True:
            size, end, left = left.partition(b"\r\n")
            if not end:
                return False
            digits = _SIZE.fullmatch(size)
            if digits is None:
                raise MessageError(f"a chunk of size {size[:20]!r}")
            if not (count := int(digits[1], 16)):
                self.body = body
                return left.startswith(b"\r\n") or b"\r\n\r\n" in left
            if len(left) < count + 2:
                return False
            body, left = body + left[:count], left[count + 2 :]
