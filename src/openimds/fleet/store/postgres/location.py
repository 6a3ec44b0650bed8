"""The location of a store in PostgreSQL, as a URL. Nothing here needs the driver."""

import importlib
import re
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from openimds import private_files
from openimds.errors import ConfigError

SCHEMA = "openimds"
"""The schema of the tables, if the URL names no other."""
_WHERE, _PASSWORD = "--store", "--store-password-file"
_MOST_PASSWORD = 4096
"""The most octets of a file with a password."""
_EXPECTED = "postgresql://USER@HOST:PORT/DATABASE"
_ENCODE = 'In a user name, a password or a database, write "/" as %2F, "@" as %40, "#" as %23'
_PORT = "5432"
_PARAMETERS = (
    "application_name",
    "channel_binding",
    "gssencmode",
    "host",
    "krbsrvname",
    "passfile",
    "schema",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)
"""The parameters of a URL: those of libpq that choose an engine or secure the way to it."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class PostgresLocation(Struct, frozen=True, repr_omit_defaults=True):
    """An engine, a database and a schema. Several hosts and ports are separated by commas."""

    host: str
    port: str
    database: str
    user: str = ""
    password: str = ""
    schema: str = SCHEMA
    parameters: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the location in words, without user and password."""
        if self.host.startswith("/"):
            engine = f"{self.host}:{self.port}"
        else:
            hosts = (f"[{host}]" if ":" in host else host for host in self.host.split(","))
            engine = ",".join(map(":".join, zip(hosts, self.port.split(","), strict=True)))
        schema = "" if self.schema == SCHEMA else f", schema {self.schema}"
        return f"PostgreSQL at {engine}, database {self.database}{schema}"

    def __repr__(self) -> str:
        """Return the location in words: the password must reach no traceback."""
        return f"<{self}>"


def parse_location(text: str) -> PostgresLocation:
    """Return the location of a URL.

    Raises:
        ConfigError: it is no URL of PostgreSQL, or has a part that is unknown or missing. The
            message repeats no part of the URL that may be a password.
    """
    if not text.startswith("postgresql://"):
        scheme = re.match(r"[a-z0-9+]{1,20}(?=://)", text)
        raise _misfit(f'"{scheme[0]}://"' if scheme else 'a text without "postgresql://"')
    if re.search(r"[\x00-\x20\x7f]", text):
        raise _misfit("a blank or a control character", _ENCODE)
    try:
        parts = urlsplit(text)
    except ValueError:  # Its message may have the password.
        raise _misfit("an address that cannot be read", _ENCODE) from None
    login, _, address = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if "#" in text or "@" in login + parts.path + parts.query:
        raise _misfit('"#" or "@" in a part', _ENCODE)
    parameters = _parameters(parts.query)
    socket, schema = parameters.pop("host", ""), parameters.pop("schema", SCHEMA)
    hosts, ports = _hosts(address, socket)
    database = parts.path.removeprefix("/")
    if not database or "/" in database:
        raise _misfit("no database" if not database else '"/" in the database', _ENCODE)
    if not _SCHEMA.fullmatch(schema):
        raise ConfigError(
            f"{_WHERE}: schema",
            f'"{schema}"',
            "a lower-case name of letters, digits and _, of 63 characters at most",
        )
    return PostgresLocation(
        hosts, ports, unquote(database), unquote(user), unquote(password), schema, parameters
    )


def locate(text: str, password_file: str = "") -> PostgresLocation:
    """Return the location of a URL, with the password of a file.

    An empty file has none: systemd gives it to a service where the operator has written none.

    Raises:
        ConfigError: as `parse_location`; both have a password; others may read the file, or this
            process cannot.
    """
    location = parse_location(text)
    password = _password(Path(password_file)) if password_file else ""
    if not password:
        return location
    if location.password:
        seen = "a password in the URL of --store, too"
        raise ConfigError(_PASSWORD, seen, "one password", "Take that of the URL out")
    return replace(location, password=password)


def _password(path: Path) -> str:
    """Return the only line of a file.

    Raises:
        ConfigError: others may read it, this process cannot, or it has something else.
    """
    try:
        text, status = private_files.read(path.resolve(), _MOST_PASSWORD)
        password = text.decode().rstrip("\r\n")
    except OSError as error:
        seen = f"{path} ({(error.strerror or str(error)).lower()})"
        raise ConfigError(_PASSWORD, seen, "a file to read") from None
    except RuntimeError:  # Of Path.resolve, before Python 3.13.
        raise ConfigError(_PASSWORD, f"{path} (a loop of links)", "a file to read") from None
    except private_files.UntrustedFileError as error:
        fit = f"a plain file of this user or root, of {_MOST_PASSWORD} octets at most"
        raise ConfigError(_PASSWORD, f"an unfit file ({error})", fit) from None
    except UnicodeDecodeError:
        raise ConfigError(_PASSWORD, f"{path} (not UTF-8)", "a password in UTF-8") from None
    if private_files.exposed_bits(status):
        mode = private_files.mode_of(status)
        raise ConfigError(
            _PASSWORD, f"{path} of mode {mode}", "mode 0600", f"Type chmod 600 {path}"
        )
    if "\n" in password or "\0" in password:
        raise ConfigError(_PASSWORD, f"{path} with several lines", "a password in one line")
    return password


def require_driver() -> None:
    """Import psycopg, an extra; call this before importing another module of this room.

    Raises:
        ConfigError: it is not installed, or the library of PostgreSQL that it loads is not.
    """
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise ConfigError(
            _WHERE,
            "postgresql:// without psycopg",
            "the extra postgres to be installed",
            "Type pip install './openimds[postgres]' beside a checkout",
        ) from error


def _misfit(seen: str, hint: str = "") -> ConfigError:
    return ConfigError(_WHERE, seen, _EXPECTED, hint)


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of a URL; each is known and stands once."""
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in _PARAMETERS:
            near = get_close_matches(name, _PARAMETERS, 1)
            hint = f'Did you mean "{near[0]}"?' if near else ""
            known = ", ".join(_PARAMETERS)
            raise ConfigError(_WHERE, f'the parameter "{name}"', f"one of {known}", hint)
    if len({name for name, _ in pairs}) < len(pairs):
        raise _misfit("a parameter twice")
    return dict(pairs)


def _hosts(address: str, socket: str) -> tuple[str, str]:
    """Return the hosts and the ports, each separated by commas."""
    if socket:
        if not socket.startswith("/") or (address and not re.fullmatch(r":[0-9]{1,5}", address)):
            raise ConfigError(
                f"{_WHERE}: host",
                f'"{socket}"',
                "the folder of a socket, such as postgresql:///openimds?host=/run/postgresql",
            )
        return socket, address.removeprefix(":") or _PORT
    found = [_HOST.fullmatch(one) for one in address.split(",")]
    matches = [match for match in found if match and int(match[2] or _PORT) in range(1, 65536)]
    if len(matches) < len(found):
        raise _misfit("no host" if not address else "a host or port that cannot be read", _ENCODE)
    hosts = ",".join(match[1].strip("[]") for match in matches)
    return hosts, ",".join(match[2] or _PORT for match in matches)
