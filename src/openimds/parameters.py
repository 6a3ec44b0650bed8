"""Parameters as rows, and the one reader of untrusted values.

A `Parameter` row gives a value's name, type, bounds, default and help. The reader checks values
against rows for every source: settings, fleet file entries, admin bodies, query strings and command
lines. JSON, YAML and TOML bring typed values. Environment variables, command lines and query
strings bring text: with `text=True` a string is parsed by the type of its row, while typed values
stay welcome. A misfit raises `ConfigError` with the path, the value, the expectation and, for a
misspelled word, the nearest right one.

This module imports no room, so that every room but `facts` may import it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from openimds.errors import ConfigError, SpellingError

MOST_ITEMS = 100_000
"""The usual upper bound of a list, such as the names of VMs."""
LARGEST = 2**53 - 1
"""The largest magnitude of a number: above it a JSON reader may lose digits."""

MOST_OLD_NAMES = 10
"""The most old names that one warning has."""
_LONGEST_SHOWN = 60
_WORDS = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a list of strings",
}
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_WHOLE = re.compile(r"[-+]?[0-9]{1,15}")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
DURATION = "DURATION"
"""The metavar of a number of seconds, which a text may also give with units."""
_UNITS_S = (86_400, 3_600, 60, 1)
_SPAN_OF_UNIT = r"(?:([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?){})?"
_DURATION = re.compile("-?" + "".join(map(_SPAN_OF_UNIT.format, "dhms")))
_NUMBER = re.compile(r"[-+]?([0-9]{1,15}\.?[0-9]{0,32}|\.[0-9]{1,32})([eE][-+]?[0-9]{1,3})?")


_old_names: ContextVar[dict[str, str] | None] = ContextVar("old_names", default=None)


class MisfitError(ValueError):
    """Raised by a row's `convert`; its text is the expectation, such as `a URL`."""


class Parameter(Struct, frozen=True):
    """One parameter.

    `type` is `str`, `bool`, `int`, `float` or `tuple` (a list of strings). `minimum` and `maximum`
    bound a number, the length of a string, or the number of items of a list. With `takes_whole` a
    string may be given as a whole number. `metavar` stands for the value in help texts, such as
    `FILE`; `DURATION` also lets text give a number of seconds as 10m. `convert` gets a value of the
    right type and bounds and returns the final one, or raises `MisfitError`. An optional parameter
    without `default` is left out of `read_fields`.
    """

    name: str
    type: type
    help: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str | int, ...] = ()
    required: bool = False
    metavar: str = ""
    convert: Callable[[Any], Any] | None = None
    takes_whole: bool = False

    @property
    def expected(self) -> str:
        """The values that fit, for an error's `expected …`."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        span = _span(self.minimum, self.maximum)
        if self.takes_whole:
            return f"a whole number, or a string of {span} characters"
        if not span:
            return _WORDS[self.type]
        if self.type is str:
            return f"a string of {span} characters"
        if self.type is tuple:
            return f"a list of {span} strings"
        link = "of" if self.minimum is None or self.maximum is None else "from"
        return f"{_WORDS[self.type]} {link} {span}"

    @property
    def expected_text(self) -> str:
        """The texts that fit, for an error's `expected …`."""
        if self.metavar != DURATION:
            return self.expected
        return f"{self.expected}: seconds, or a duration such as 90s, 10m or 2h30m"


def read_fields(
    parameters: Iterable[Parameter],
    value: object,
    where: str = "",
    *,
    text: bool = False,
    root: str = "body",
) -> dict[str, Any]:
    """Read a mapping of these parameters and no others; fill in their defaults.

    A null member counts as absent. A member's name is in camelCase, or in the snake_case of its
    row: `old_names` collects the latter. `where` is the path of the mapping; an error that concerns
    the whole mapping names `root` if the path is empty.

    Raises:
        ConfigError: no mapping, an unknown or missing member, or a value that does not fit.
        SpellingError: a member in both spellings.
    """
    rows = {row.name: row for row in parameters}
    place = where or root
    if not isinstance(value, Mapping):
        raise ConfigError(place, describe(value), "a mapping of names to values")
    fields = {
        name: read_value(rows[name], value[spelling], path_of(where, spelling), text=text)
        for spelling, name in _spelled(value, rows, place).items()
        if value[spelling] is not None
    }
    for row in rows.values():
        if row.name in fields:
            continue
        if row.required:
            raise ConfigError(place, f"no {row.name}", f"{row.name}: {row.expected}")
        if row.default is not None:
            fields[row.name] = row.default
    return fields


def read_value(row: Parameter, value: object, where: str = "", *, text: bool = False) -> Any:  # noqa: ANN401 - the type is that of the row
    """Read one value; a list becomes a tuple.

    `where` is the path of the value, by default the name of the row.

    Raises:
        ConfigError: the value does not fit its row.
    """
    where = where or row.name
    typed: Any = _parse(row, value) if text else value
    expected = row.expected_text if text else row.expected
    if isinstance(typed, list | tuple) and row.type is tuple:
        typed = tuple(
            _item(item, f"{where}[{place}]", text=text) for place, item in enumerate(typed)
        )
    if row.takes_whole and _is_of(int, typed):
        typed = str(typed)
    if not _is_of(row.type, typed):
        raise ConfigError(where, _shown(value, text=text), expected)
    if isinstance(typed, str) and not text:
        check_encodable(typed, where)
    if row.choices and typed not in row.choices:
        hint = nearest(str(typed), map(str, row.choices))
        raise ConfigError(where, _shown(value, text=text), row.expected, hint)
    size = typed if isinstance(typed, int | float) else len(typed)
    is_low = row.minimum is not None and size < row.minimum
    is_high = row.maximum is not None and size > row.maximum
    if is_low or is_high:
        raise ConfigError(where, _shown(value, text=text), expected)
    if row.convert is None:
        return typed
    try:
        return row.convert(typed)
    except MisfitError as misfit:
        raise ConfigError(where, _shown(value, text=text), str(misfit)) from None


def check_encodable(value: str, where: str) -> None:
    """Check that UTF-8 can carry a text: JSON can write half of a surrogate pair.

    Text of the environment is not checked: there it stands for a byte of a file name.

    Raises:
        ConfigError: the text has half of a surrogate pair.
    """
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ConfigError(where, "half of a surrogate pair", "text that UTF-8 can carry")


def check_names(names: Iterable[object], known: Iterable[str], where: str) -> None:
    """Check that every name is known; `where` is the path of their mapping.

    Raises:
        ConfigError: a name is unknown; the hint gives the nearest known one.
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            expected = "one of " + ", ".join(known)
            raise ConfigError(where, f'unknown key "{name}"', expected, nearest(str(name), known))


def camel_case(name: str) -> str:
    """Return the camelCase spelling of a name: `untilS` of `until_s`."""
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))


def _spelled(value: Mapping[Any, object], rows: Iterable[str], where: str) -> dict[Any, str]:
    """Return the name of the row of each member, by the member's spelling.

    Raises:
        ConfigError: a member without a row.
        SpellingError: a member in both spellings.
    """
    names = {spelling: name for name in rows for spelling in (camel_case(name), name)}
    for spelling in value:
        if spelling not in names:
            expected, hint = "one of " + ", ".join(rows), nearest(str(spelling), names)
            raise ConfigError(where, f'unknown key "{spelling}"', expected, hint)
    for spelling in value:
        name = names[spelling]
        if spelling != name and name in value:
            seen = f'both "{name}" and "{spelling}"'
            raise SpellingError(where, seen, "one of the two", f'Keep "{spelling}"')
    found = _old_names.get()
    if found is not None:
        for spelling in value:
            if spelling != (usual := camel_case(names[spelling])) and len(found) < MOST_OLD_NAMES:
                found[path_of(where, spelling)] = usual
    return {spelling: names[spelling] for spelling in value}


def parse_duration(text: str) -> float | None:
    """Return the seconds of a text such as 2h30m; None if it is none."""
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        return None
    pairs = zip(found.groups(), _UNITS_S, strict=True)
    seconds = sum((float(number) * unit for number, unit in pairs if number), 0.0)
    seconds = -seconds if text.startswith("-") else seconds
    return int(seconds) if seconds.is_integer() else seconds


@contextmanager
def old_names() -> Iterator[dict[str, str]]:
    """Collect the members that are read by their snake_case names of 0.1.0, until 1.0.

    The result has the camelCase name by the path of each of the first ones. Only members of rows
    are among them: the keys of maps that users fill are their own.
    """
    found: dict[str, str] = {}
    token = _old_names.set(found)
    try:
        yield found
    finally:
        _old_names.reset(token)


def old_names_notice(found: Mapping[str, str]) -> str:
    """Return the warning about old names; empty without any."""
    if not found:
        return ""
    names = ", ".join(f"{path} (now {usual})" for path, usual in found.items())
    return f"old names, which 1.0 no longer reads: {names}"


def parse_time(text: str) -> float:
    """Convert a time as RFC 3339 to seconds since 1970.

    Raises:
        MisfitError: the text is no time, or has no zone.
    """
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.timestamp()
    except (ValueError, OverflowError):
        pass
    raise MisfitError("a time with its zone, such as 2026-11-22T19:54:46Z")


def read_base_url(text: str, where: str) -> str:
    """Read a URL that ends with its host or port; return it without a slash.

    Raises:
        ConfigError: another scheme, no host, or a user, path, query or fragment.
    """
    expected = "http://HOST:PORT, or https"
    scheme, separator, rest = text.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        # The value may hold a password: do not repeat it.
        bare = f"{scheme}://{authority.rpartition('@')[2]}"
        raise ConfigError(where, "a URL with a user in it", expected, f"Write {bare}")
    is_url = scheme.lower() in {"http", "https"} and _is_authority(authority)
    if is_url and rest.removeprefix(authority) in {"", "/"}:
        return f"{scheme.lower()}://{authority}"
    hint = ""
    if is_url:
        hint = f"Write {scheme.lower()}://{authority}"
    elif not separator and _is_authority(text):
        hint = f"Write http://{text}"
    raise ConfigError(where, _quoted(text), expected, hint)


def _is_authority(text: str) -> bool:
    """Tell whether a text is a host with or without a port."""
    if not _AUTHORITY.fullmatch(text):
        return False
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # A port above 65535, or no address in the brackets.
        return False


def path_of(where: str, name: str) -> str:
    """Return the path of a member of the mapping at a path."""
    return f"{where}.{name}" if where else name


def nearest(word: str, words: Iterable[str]) -> str:
    """Return `Did you mean "..."?` with the likeliest word in any case, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only errors need it

    by_lower = {known.lower(): known for known in words}
    close = get_close_matches(word.lower(), by_lower, 1)
    return f'Did you mean "{by_lower[close[0]]}"?' if close else ""


def describe(value: object) -> str:
    """Return a value with its type in words, shortened, for an error's `saw …`."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {_digits(value)}"
        case str():
            return f"the string {_quoted(value)}"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return f"a mapping with {', '.join(map(str, list(value)[:3])) or 'no members'}"
        case _:
            return f"a value of type {type(value).__name__}"


def quote_hint(value: object) -> str:
    """Return the advice to quote a bare scalar where text is wanted, or nothing."""
    is_scalar = not isinstance(value, str | list | dict | None)
    return "Put it in quotes" if is_scalar else ""


def _parse(row: Parameter, value: object) -> object:
    """Return a text as a value of the row's type, or unchanged."""
    kind = row.type
    if kind is bool and isinstance(value, str | int):
        return _BOOLEANS.get(str(value).lower(), value)
    if not isinstance(value, str):
        return value
    if kind in {int, float} and _WHOLE.fullmatch(value):
        return int(value)
    if kind is float and _NUMBER.fullmatch(value):
        return float(value)
    if row.metavar == DURATION and (seconds := parse_duration(value)) is not None:
        return seconds
    if kind is tuple:
        return [word for part in value.split(",") if (word := part.strip())]
    return value


def _is_of(kind: type, value: object) -> bool:
    """Tell whether a value is of a type; no boolean is a number, none infinite."""
    if kind is float:
        kind = int if isinstance(value, int) else float
    if kind is not bool and isinstance(value, bool):
        return False
    # False for NaN too.
    is_moderate = not isinstance(value, int | float) or abs(value) <= LARGEST
    return isinstance(value, kind) and is_moderate


def _item(item: object, where: str, *, text: bool) -> str:
    if not isinstance(item, str):
        raise ConfigError(where, describe(item), "a string")
    if not text:
        check_encodable(item, where)
    return item


def _shown(value: object, *, text: bool) -> str:
    return _quoted(value) if text and isinstance(value, str) else describe(value)


def _quoted(text: str) -> str:
    return f'"{text}"' if len(text) <= _LONGEST_SHOWN else f'"{text[:_LONGEST_SHOWN]}…"'


def _digits(value: float) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no number of more than 4300 digits.
        return "of very many digits"


def _span(minimum: float | None, maximum: float | None) -> str:
    if minimum is None:
        return "" if maximum is None else f"at most {maximum:.15g}"
    if maximum is None:
        return f"at least {minimum:.15g}"
    return f"{minimum:.15g} to {maximum:.15g}"
