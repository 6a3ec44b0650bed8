"""One request with its answer, as values."""

import re
from base64 import b64decode, b64encode

from msgspec import Struct

LINE = re.compile(r"HTTP/\d\.\d (\d{3})(?: .*)?")
"""A status line, without its end."""


class RecordedRequest(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A request without a body; the header `Host` is sent first, then `headers`."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    has_host: bool = True

    def __str__(self) -> str:
        """Return the request in one line for people; the usual header is left out."""
        usual = (("Metadata", "true"),)
        headers = "no headers" if not self.headers else ", ".join(map(": ".join, self.headers))
        more = "" if self.headers == usual else f" ({headers})"
        return f"{self.method} {self.target}{more}" + ("" if self.has_host else " (no Host)")


class RecordedResponse(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An answer as it arrived.

    `line` and `headers` are lines without their ends, their bytes read as Latin-1. A body that is
    UTF-8 stands in `body`, any other in `body_base64`. `signed` is the text under the signature of
    an attested document.
    """

    line: str
    headers: tuple[str, ...] = ()
    body: str = ""
    body_base64: str = ""
    signed: str = ""

    @property
    def status(self) -> int:
        """The status code."""
        match = LINE.fullmatch(self.line)
        assert match is not None, self.line
        return int(match[1])

    @property
    def octets(self) -> bytes:
        """The bytes of the body."""
        return b64decode(self.body_base64) if self.body_base64 else self.body.encode()

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """The names and values of the headers, in their order."""
        split = (line.partition(":") for line in self.headers)
        return tuple((name, value.strip()) for name, _, value in split)

    def value(self, name: str) -> str:
        """Return the value of the first header of a name in any case, else nothing."""
        return next((value for other, value in self.fields if other.lower() == name.lower()), "")


class Exchange(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A request, and its answer or the reason of its failure.

    `question` and `version` are the key of the question and its api-version. `turned_away` is the
    first answer that led to a retry, such as a 429.
    """

    question: str
    version: str
    request: RecordedRequest
    answer: RecordedResponse | None = None
    failure: str = ""
    turned_away: RecordedResponse | None = None


def recorded_response(
    line: bytes, headers: tuple[bytes, ...], body: bytes, signed: str = ""
) -> RecordedResponse:
    """Return an answer from its bytes."""
    text, raw = "", ""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raw = b64encode(body).decode()
    lines = tuple(header.decode("latin-1") for header in headers)
    return RecordedResponse(line.decode("latin-1"), lines, text, raw, signed)
