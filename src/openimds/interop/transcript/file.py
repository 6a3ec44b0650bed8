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
"""Raised when older readers would misread the file."""
_MSGSPEC_ERROR = re.compile(
    r"(?:Expected `?(?P<expected>[^,`]+)`?, got `?(?P<seen>[^`]+)`?|(?P<other>.+?))"
    r"(?: - at `\$\.?(?P<where>.*)`)?"
)


class Transcript(Struct, frozen=True, rename="camel"):
    """The exchanges with one IMDS.

    `began_at` is a time of RFC 3339; `left_out` are phrases for people: the omitted questions.
    """

    format: int
    made_by: str
    url: str
    began_at: str
    is_redacted: bool
    left_out: tuple[str, ...]
    exchanges: tuple[Exchange, ...]

    def to_bytes(self) -> bytes:
        """Return the bytes of the file: JSON, indented for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def looks_like_transcript(value: object) -> bool:
    """Tell whether a decoded JSON value looks like a transcript."""
    return isinstance(value, dict) and {"format", "exchanges"} <= value.keys()


def read(value: object) -> Transcript:
    """Return the transcript in a decoded JSON value.

    Raises:
        ConfigError: it is not a transcript, or of a format that this release does not know.
    """
    if not isinstance(value, dict) or not looks_like_transcript(value):
        raise ConfigError("top level", describe(value), "a file of openimds capture")
    if value["format"] != FORMAT:
        raise ConfigError(
            "format",
            describe(value["format"]),
            f"{FORMAT}, the one that this release knows",
            "Read it with the release that wrote it, or capture anew",
        )
    try:
        transcript = msgspec.convert(value, Transcript)
    except msgspec.ValidationError as error:
        raise _config_error(str(error)) from None
    for number, exchange in enumerate(transcript.exchanges):
        for name, response in (
            ("answer", exchange.answer),
            ("turnedAway", exchange.turned_away),
        ):
            if response:
                _check(response, f"exchanges[{number}].{name}")
    return transcript


def _check(response: RecordedResponse, where: str) -> None:
    if not LINE.fullmatch(response.line):
        seen = describe(response.line)
        raise ConfigError(f"{where}.line", seen, "a status line such as HTTP/1.1 200 OK")
    body = response.body_base64
    try:
        b64decode(body, validate=True)
    except ValueError:
        raise ConfigError(f"{where}.bodyBase64", describe(body), "base64") from None


def _config_error(text: str) -> ConfigError:
    """Return a msgspec validation error as a ConfigError with its path."""
    match = _MSGSPEC_ERROR.fullmatch(text)
    assert match is not None, text
    parts: dict[str, Any] = match.groupdict(default="")
    where = parts["where"] or "top level"
    if parts["other"]:
        return ConfigError(where, parts["other"], "a file of openimds capture")
    return ConfigError(where, parts["seen"], parts["expected"])
