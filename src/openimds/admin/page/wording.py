"""Values as the page writes them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec.json

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_KIBI = 1024


def moment(seconds: float | None) -> str:
    """Return a time in seconds since 1970 as a date; "-" for none."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def short_moment(text: str) -> str:
    """Return an ISO 8601 date in UTC without the fraction of its second."""
    return text[:19].replace("T", " ") + "Z" if text else "-"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units; "-" for none."""
    if seconds is None:
        return "-"
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    if left < _MINUTE:
        return f"{sign}{left:.1f} s" if left < 10 else f"{sign}{left:.0f} s"  # noqa: PLR2004
    whole = int(left)
    if whole < _HOUR:
        return f"{sign}{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{sign}{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{sign}{whole // _DAY} d {whole % _DAY // _HOUR} h"


def size(octets: float) -> str:
    """Return a number of octets in the unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if octets < _KIBI:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= _KIBI
    return f"{octets:.1f} GiB"


def as_json(value: object) -> str:
    """Return a value as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def number(value: float) -> str:
    """Return a number with separated thousands."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"


def plain(text: str) -> str:
    """Return a text of a row without its backticks."""
    return text.replace("`", "")


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "short_moment": short_moment,
    "duration": duration,
    "as_json": as_json,
    "number": number,
    "plain": plain,
}
