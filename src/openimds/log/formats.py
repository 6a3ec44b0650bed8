"""The line of a message, as logfmt or JSON, of at most 4,096 bytes.

A pipe takes so many bytes at once (PIPE_BUF of Linux): lines of two processes are never mixed.
"""

import re
import time
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec.json

from openimds.log.event import Level, LogEvent, LogMessage, Value
from openimds.log.masking import MOST_SENTENCE_CHARACTERS, printable, shown

MOST_LINE_BYTES = 4096
Members: TypeAlias = dict[str, Value]
Format: TypeAlias = Callable[[Members], bytes]
"""Returns the members of a line as bytes, without the end of the line."""
_BARE = re.compile(r"[A-Za-z0-9_.:/@+,\[\]*%~^-]+")
_encode = msgspec.json.Encoder().encode


def as_json(members: Members) -> bytes:
    """Return a JSON object."""
    return _encode(members)


def as_logfmt(members: Members) -> bytes:
    """Return `key=value` pairs; values with a blank, a quote or an equals sign are quoted."""
    return " ".join(f"{key}={_logfmt(value)}" for key, value in members.items()).encode()


def _logfmt(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


FORMATS: dict[str, Format] = {"logfmt": as_logfmt, "json": as_json}


def timestamp(utc_s: float) -> str:
    """Return a time as UTC with milliseconds, as in RFC 3339."""
    ms = round(utc_s * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(ms // 1000))}.{ms % 1000:03}Z"


class LineFormat:
    """Makes lines with a time, or for a journal with a priority instead."""

    def __init__(self, format_: Format, *, is_journal: bool = False) -> None:
        """Write in a format; a journal has the time, and reads `<N>` as the priority."""
        self._format, self._is_journal = format_, is_journal

    def line(self, message: str, utc_s: float, default: LogEvent) -> bytes:
        """Return the line of a message; a plain text is one of the default event."""
        if isinstance(message, LogMessage):
            event, level, fields = message.event, message.level, message.fields
        else:
            event, level, fields = default, default.level, {}
        sentence = printable(message, MOST_SENTENCE_CHARACTERS)
        return self.line_of(
            level,
            event.name,
            utc_s,
            sentence,
            ((name, shown(name, value)) for name, value in fields.items()),
        )

    def line_of(
        self,
        level: Level,
        name: str,
        utc_s: float,
        sentence: str,
        fields: Iterable[tuple[str, Value]],
    ) -> bytes:
        """Return the line of parts that may be shown; without a sentence, it has none."""
        members: Members = {} if self._is_journal else {"time": timestamp(utc_s)}
        members |= {"level": level.title, "event": name}
        if sentence:
            members["message"] = sentence
        kept = {*members}
        members |= ((name, value) for name, value in fields if name not in kept)
        prefix = b"<%d>" % level.priority if self._is_journal else b""
        line = self._format(members)
        while len(prefix) + len(line) + 1 > MOST_LINE_BYTES:
            last = next(name for name in reversed(members) if name not in kept or name == "message")
            del members[last]
            line = self._format(members | {"cut": True})
        return b"%b%b\n" % (prefix, line)
