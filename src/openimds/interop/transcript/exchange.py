"""One question and what was answered to it."""

import re
from base64 import b64decode, b64encode

from msgspec import Struct

LINE = re.compile(r"HTTP/\d\.\d (\d{3})(?: .*)?")
"""A status line, without its end."""


class RecordedRequest(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A request without a body; `Host` comes first, then these headers."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    has_host: bool = True

    def __str__(self) -> str:
        """Return the request as a person would say it, e.g. in an issue."""
        usual = (("Metadata", "true"),)
        headers = "no headers" if not self.headers else ", ".join(map(": ".join, self.headers))
        more = "" if self.headers == usual else f" ({headers})"
        return f"{self.method} {self.target}{more}" + ("" if self.has_host else " (no Host)")


class RecordedResponse(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An answer as it came.

    `line` and `headers` are lines without their ends, their bytes read as Latin-1. A body that is
    UTF-8 stands in `body`, any other in `body_base64`. `signed` is what the signature of an
    attested document signs.
    """

    line: str
    headers: tuple[str, ...] = ()
    body: str = ""
    body_base64: str = ""
    signed: str = ""

    @property
    def status(self) -> int:
        """The status code."""
        found = LINE.fullmatch(self.line)
        assert found is not None, self.line
        return int(found[1])

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
        """Return the value of the first header of a name in any letter case, empty if none."""
        return next((value for known, value in self.fields if known.lower() == name.lower()), "")


class Exchange(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A request, and its answer or why there is none.

    `question` and `version` say what it was asked for. `turned_away` is the first of the answers
    that were not taken, such as a 429, before the one that was.
    """

    question: str
    version: str
    request: RecordedRequest
    answer: RecordedResponse | None = None
    failure: str = ""
    turned_away: RecordedResponse | None = None


def answer(
    line: bytes, headers: tuple[bytes, ...], body: bytes, signed: str = ""
) -> RecordedResponse:
    """Return an answer from its bytes."""
    said, raw = "", ""
    try:
        said = body.decode()
    except UnicodeDecodeError:
        raw = b64encode(body).decode()
    lines = tuple(one.decode("latin-1") for one in headers)
    return RecordedResponse(line.decode("latin-1"), lines, said, raw, signed)
