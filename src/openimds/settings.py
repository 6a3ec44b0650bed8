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
from openimds.facts.versions import NEWEST

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


def _url(value: object) -> str:
    text = _text(value).removesuffix("/")
    if text and not text.startswith(("http://", "https://")):
        raise _Unfit("http://... or https://...")
    return text


def _issuer(value: object) -> str:
    if value in ("azure", "public"):
        return str(value)
    try:
        return _url(value)
    except _Unfit:
        raise _Unfit("azure, public, or a URL") from None


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise _Unfit("one of " + ", ".join(words))
        return str(value)

    return read


def _or_nothing(read: Callable[[object], str]) -> Callable[[object], str]:
    return lambda value: "" if value == "" else read(value)


SETTINGS: tuple[Setting, ...] = (
    Setting("fleet", _text, "", "Fleet file (YAML, TOML or JSON), or a folder of them.", "PATH"),
    Setting(
        "document",
        _text,
        "",
        "What openimds capture wrote, or a body of /metadata/instance; serves that VM.",
        "FILE",
    ),
    Setting(
        "listen",
        _text,
        "127.0.0.1:8169",
        "Where the data plane listens; several addresses have commas between them.",
        "HOST:PORT",
    ),
    Setting(
        "admin", _admin, "127.0.0.1:8170", "Where the admin API listens, or none.", "HOST:PORT"
    ),
    Setting("admin_hosts", _text, "", "More names by which the admin API may be called.", "NAMES"),
    Setting(
        "state", _text, "", "Folder that keeps the fleet; without it the process forgets.", "DIR"
    ),
    Setting(
        "public",
        _text,
        "auto",
        "Where keys and certificates are published; auto is 127.0.0.1:8171 or any free port.",
        "HOST:PORT",
    ),
    Setting(
        "public_url",
        _url,
        "",
        "By which URL others reach what is published; by default that of the listener.",
        "URL",
    ),
    Setting(
        "issuer",
        _issuer,
        "azure",
        "Who issues tokens: azure (as in Azure), public (our discovery finds it), or a URL.",
        "NAME",
    ),
    Setting(
        "attest_key",
        _text,
        "",
        "Key of your own intermediate (PEM), which then signs the leaves of attested documents.",
        "FILE",
    ),
    Setting(
        "attest_certificates",
        _text,
        "",
        "Your own intermediate and the certificates above it (PEM).",
        "FILE",
    ),
    Setting("token_life", _whole(60), 86400, "How long a token lives.", "SECONDS"),
    Setting(
        "forget_tokens",
        _boolean,
        default=False,
        help="Forget the tokens of a VM when it changes; Azure keeps them until they expire.",
    ),
    Setting(
        "entra",
        _or_nothing(_one_of("federation", "service-principal", "az")),
        "",
        "How Entra is asked for tokens of identities with source entra: federation (each in its "
        "own name), service-principal (AZURE_* variables) or az (who is signed in).",
        "NAME",
    ),
    Setting("v2_resources", _text, "", "Resources whose tokens are of version 2.0.", "NAMES"),
    Setting(
        "arc_folder",
        _text,
        "",
        "Serve Azure Arc's way to tokens, with challenges as files in this folder; libraries read "
        "them in /var/opt/azcmagent/tokens only.",
        "DIR",
    ),
    Setting(
        "msi_v2",
        _boolean,
        default=False,
        help="Serve version 2 of managed identities: certificates instead of tokens.",
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
        NEWEST,
        "Newest general api-version that is known, as in a region that lacks later ones.",
        "VERSION",
    ),
    Setting(
        "scenario", _text, "", "Scenario file: scheduled events that come by themselves.", "FILE"
    ),
    Setting(
        "event_hook",
        _text,
        "",
        "Command (JSON on its stdin) or URL (POST) that is told what happens to scheduled events.",
        "HOOK",
    ),
    Setting(
        "events_activation",
        _boolean,
        default=False,
        help="Show scheduled events only 5 minutes after the first request, as Azure does.",
    ),
    Setting(
        "virtual_clock",
        _boolean,
        default=False,
        help="Let POST /v1/clock set the time of guests: events, tokens, attested documents.",
    ),
    Setting(
        "record",
        _whole(0),
        0,
        "Requests of each VM to remember, for openimds requests and GET /v1/requests; 0 is none.",
        "N",
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
