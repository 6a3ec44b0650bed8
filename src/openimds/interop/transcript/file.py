"""The whole transcript, and the file that holds it."""

import re
from base64 import b64decode
from typing import Any

import msgspec
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.interop.transcript.exchange import LINE, Exchange, RecordedResponse
from openimds.parameters import describe

FORMAT = 1
"""Raised when a reader of before would misread what is written now."""
_SAID = re.compile(
    r"(?:Expected `?(?P<expected>[^,`]+)`?, got `?(?P<seen>[^`]+)`?|(?P<other>.+?))"
    r"(?: - at `\$\.?(?P<where>.*)`)?"
)


class Transcript(Struct, frozen=True, rename="camel"):
    """What was asked of one IMDS.

    `began_at` is a time as RFC 3339 writes it; `left_out` are sentences for whoever reads the file.
    """

    format: int
    made_by: str
    url: str
    began_at: str
    is_redacted: bool
    left_out: tuple[str, ...]
    exchanges: tuple[Exchange, ...]

    def to_bytes(self) -> bytes:
        """Return the file: JSON that a person can read."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def looks(value: object) -> bool:
    """Tell whether a decoded JSON value looks like a transcript."""
    return isinstance(value, dict) and {"format", "exchanges"} <= value.keys()


def read(value: object) -> Transcript:
    """Return the transcript in a decoded JSON value.

    Raises:
        ConfigError: it is none, or one of a format that this release does not know.
    """
    if not isinstance(value, dict) or not looks(value):
        raise ConfigError("top level", describe(value), "what openimds capture wrote")
    if value["format"] != FORMAT:
        raise ConfigError(
            "format",
            describe(value["format"]),
            f"{FORMAT}, the one that this release knows",
            "Read it with the release that wrote it, or capture anew",
        )
    try:
        found = msgspec.convert(value, Transcript)
    except msgspec.ValidationError as error:
        raise _unfit(str(error)) from None
    for number, one in enumerate(found.exchanges):
        for name, said in (("answer", one.answer), ("turnedAway", one.turned_away)):
            if said:
                _check(said, f"exchanges[{number}].{name}")
    return found


def _check(said: RecordedResponse, where: str) -> None:
    if not LINE.fullmatch(said.line):
        seen = describe(said.line)
        raise ConfigError(f"{where}.line", seen, "a status line such as HTTP/1.1 200 OK")
    try:
        b64decode(said.body_base64, validate=True)
    except ValueError:
        raise ConfigError(f"{where}.bodyBase64", describe(said.body_base64), "base64") from None


def _unfit(text: str) -> ConfigError:
    """Return what msgspec says of a value that does not fit as we say it."""
    found = _SAID.fullmatch(text)
    assert found is not None, text
    parts: dict[str, Any] = found.groupdict(default="")
    where = parts["where"] or "top level"
    if parts["other"]:
        return ConfigError(where, parts["other"], "what openimds capture wrote")
    return ConfigError(where, parts["seen"], parts["expected"])
