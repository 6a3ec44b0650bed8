"""Levels, the rows of events, and the messages made of them."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Self, TypeAlias

from msgspec import Struct

Value: TypeAlias = str | int | float | bool | tuple[str, ...]
NO_FIELDS: Mapping[str, Value] = MappingProxyType({})


class Level(IntEnum):
    """The weight of an event; the value orders them, the priority is that of syslog(3)."""

    DEBUG = 10
    INFO = 20
    NOTICE = 25
    WARNING = 30
    ERROR = 40

    @property
    def title(self) -> str:
        """The name in lines and settings."""
        return self.name.lower()

    @property
    def priority(self) -> int:
        """The number of this level in syslog and systemd's journal."""
        return _PRIORITIES[self]


_PRIORITIES = {
    Level.DEBUG: 7,
    Level.INFO: 6,
    Level.NOTICE: 5,
    Level.WARNING: 4,
    Level.ERROR: 3,
}


class LogEvent(Struct, frozen=True):
    """The row of an event; `about` tells when it is written, `fields` name its values.

    At most `per_minute` lines of it are written in a minute, and the others counted; 0: all.
    """

    name: str
    level: Level
    about: str
    fields: tuple[str, ...] = ()
    per_minute: int = 0

    def message(self, sentence: str, **fields: Value) -> "LogMessage":
        """Return a message of this event; its sentence has no full stop."""
        return self.at(self.level, sentence, **fields)

    def at(self, level: Level, sentence: str, /, **fields: Value) -> "LogMessage":
        """Return a message of this event with a level of its own."""
        unknown = fields.keys() - set(self.fields)
        assert not unknown, f"{self.name} has no fields {unknown}"
        return LogMessage(sentence, self, level, fields)


class LogMessage(str):
    """A sentence for the operator that knows its event, its level and its fields.

    A text that is made of it, such as with a prefix, is a plain `str` again.
    """

    __slots__ = ("event", "fields", "level")

    event: LogEvent
    level: Level
    fields: Mapping[str, Value]

    def __new__(
        cls, sentence: str, event: LogEvent, level: Level, fields: Mapping[str, Value] = NO_FIELDS
    ) -> Self:
        """Make a message."""
        made = super().__new__(cls, sentence)
        made.event, made.level, made.fields = event, level, fields
        return made


def sentences_only(write: Callable[[str], None]) -> Callable[[str], None]:
    """Return a port for a command without a log: it passes sentences of weight."""

    def pass_on(message: str) -> None:
        if not isinstance(message, LogMessage) or message.level >= Level.NOTICE:
            write(str(message))

    return pass_on
