"""Every setting as a row; the command line, the environment, the file and the documents follow.

A value comes from the flag, else from the environment (`OPENIMDS_LISTEN`), else from the file
`openimds.toml`, else from the row. Whatever it comes from, it is read by the same rule, and an
error says where it was written.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

from openimds.errors import ConfigError

FILE_NAME = "openimds.toml"
CONFIG_VARIABLE = "OPENIMDS_CONFIG"


class Setting(Struct, frozen=True):
    """One setting: its name as in the file, how it is read, its default and its help.

    `metavar` is how its value is shown; a boolean has none and is written `--name` or `--no-name`.
    """

    name: str
    read: Callable[[object], Any]
    default: Any
    help: str
    metavar: str = ""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "OPENIMDS_" + self.name.upper()


class _Unfit(ValueError):  # noqa: N818 - it never leaves this module
    """A value that a rule cannot read; its text is what was expected."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Unfit("a string")
    return value


def _boolean(value: object) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    known = value if isinstance(value, bool) else words.get(str(value).lower())
    if known is None:
        raise _Unfit("true or false")
    return known


_MOST_DIGITS = 15


def _whole(least: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        text = str(value)
        is_whole = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
        if isinstance(value, bool) or not is_whole or int(text) < least:
            raise _Unfit(f"a whole number of at least {least}")
        return int(text)

    return read


def _admin(value: object) -> str:
    """Read an address; clients find the API by a URL in the same variable, so one will do."""
    return _text(value).removeprefix("http://").removesuffix("/")


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise _Unfit("one of " + ", ".join(words))
        return str(value)

    return read


SETTINGS: tuple[Setting, ...] = (
    Setting("fleet", _text, "", "Fleet file (YAML, TOML or JSON), or a folder of them.", "PATH"),
    Setting(
        "document", _text, "", "A captured body of /metadata/instance; serves that VM.", "FILE"
    ),
    Setting("listen", _text, "127.0.0.1:8169", "Where the data plane listens.", "HOST:PORT"),
    Setting(
        "admin", _admin, "127.0.0.1:8170", "Where the admin API listens, or none.", "HOST:PORT"
    ),
    Setting("admin_hosts", _text, "", "More names by which the admin API may be called.", "NAMES"),
    Setting(
        "state", _text, "", "Folder that keeps the fleet; without it the process forgets.", "DIR"
    ),
    Setting("rate_limit", _boolean, default=True, help="Limit requests per VM as Azure does."),
    Setting("general_per_s", _whole(1), 5, "Requests a second per VM.", "N"),
    Setting(
        "general_burst", _whole(0), 0, "Requests at once per VM; 0 is one second's worth.", "N"
    ),
    Setting("identity_per_s", _whole(1), 20, "Identity requests a second per VM.", "N"),
    Setting(
        "identity_burst", _whole(0), 0, "Identity requests at once; 0 is one second's worth.", "N"
    ),
    Setting(
        "newest_version",
        _text,
        "2025-11-15",
        "Newest general api-version that is known, as in a region that lacks later ones.",
        "VERSION",
    ),
    Setting("cache_mib", _whole(1), 256, "Memory for prepared answers, at most.", "MIB"),
    Setting("max_connections", _whole(1), 20000, "Open connections, at most.", "N"),
    Setting(
        "max_connections_per_vm", _whole(1), 1024, "Open connections of one caller, at most.", "N"
    ),
    Setting(
        "loop",
        _one_of("auto", "asyncio", "uvloop"),
        "auto",
        "Event loop; auto takes uvloop where it is installed.",
        "NAME",
    ),
)
"""All settings, in the order of the help."""

_ROWS = {row.name: row for row in SETTINGS}


def setting(name: str) -> Setting:
    """Return the row of a setting."""
    return _ROWS[name]


def resolve(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Mapping[str, object],
    file_name: str = FILE_NAME,
) -> dict[str, Any]:
    """Return the value of every setting, from the first place that has one.

    `flags` holds what was given on the command line (None for what was not), `file` what the
    configuration file says.

    Raises:
        ConfigError: a value cannot be read, or the file has a key that is no setting.
    """
    for name in file:
        if name not in _ROWS:
            close = get_close_matches(name, _ROWS, 1)
            hint = f'Did you mean "{close[0]}"?' if close else ""
            raise ConfigError(
                file_name, f'unknown key "{name}"', "one of " + ", ".join(_ROWS), hint
            )
    told = {key: (f"{file_name}: {key}", value) for key, value in file.items()}
    return {row.name: _value(row, flags, environment, told) for row in SETTINGS}


def _value(
    row: Setting,
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Mapping[str, tuple[str, object]],
) -> object:
    if flags.get(row.name) is not None:
        where, value = row.flag, flags[row.name]
    elif row.variable in environment:
        where, value = row.variable, environment[row.variable]
    elif row.name in file:
        where, value = file[row.name]
    else:
        return row.default
    try:
        return row.read(value)
    except _Unfit as unfit:
        raise ConfigError(where, f'"{value}"', str(unfit)) from None
