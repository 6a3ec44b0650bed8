"""The fault that edits the answer with a token."""

from collections.abc import Mapping

from openimds.errors import ConfigError
from openimds.facts.fault_parameters import LONGEST_EDIT
from openimds.parameters import path_of
from openimds.protocol.faults.fault import Value
from openimds.protocol.pending import TokenEdits

_DEEPEST = 16
"""The deepest nesting of a value, in brackets."""
_EXAMPLE = "NAME=VALUE, such as expires_in=soon"


def check_edits(parameters: Mapping[str, Value], where: str) -> None:
    """Check the edits of a fault, each of which fits its row.

    Raises:
        ConfigError: there is none, one is malformed, too long or too deep, or two concern a field.
    """
    edits = edits_of(parameters)
    if not edits.drop and not edits.members and edits.expires_s is None:
        seen = "neither drop, set nor expires_s"
        raise ConfigError(where or "body", seen, "one of them", "Write expires_s: -60")
    names: set[str] = set()
    for member, fields in (("drop", edits.drop), ("set", _names(edits))):
        for place, name in enumerate(fields):
            path = f"{path_of(where, member)}[{place}]"
            if not name or len(name) > LONGEST_EDIT:
                seen = f"a name of {len(name)} characters"
                raise ConfigError(path, seen, f"a name of 1 to {LONGEST_EDIT} characters")
            if name in names:
                raise ConfigError(path, f'"{name[:60]}" twice', "each field once")
            names.add(name)
    lines = parameters.get("set", ())
    for place, line in enumerate(lines if isinstance(lines, tuple) else ()):
        path = f"{path_of(where, 'set')}[{place}]"
        if "=" not in line:
            raise ConfigError(path, f'"{line[:60]}"', _EXAMPLE)
        if len(line) > LONGEST_EDIT:
            seen = f"an edit of {len(line)} characters"
            raise ConfigError(path, seen, f"at most {LONGEST_EDIT}")
        if line.count("[") + line.count("{") > _DEEPEST:
            raise ConfigError(path, "a value of many brackets", f"at most {_DEEPEST} of [ and {{")


def edits_of(parameters: Mapping[str, Value]) -> TokenEdits:
    """Return the edits of a fault's parameters."""
    drop, lines = parameters.get("drop", ()), parameters.get("set", ())
    expires_s = parameters.get("expires_s")
    assert isinstance(drop, tuple)
    assert isinstance(lines, tuple)
    assert expires_s is None or isinstance(expires_s, int | float)
    pairs = tuple((name, value) for name, _, value in (line.partition("=") for line in lines))
    return TokenEdits(drop, pairs, expires_s)


def _names(edits: TokenEdits) -> tuple[str, ...]:
    return tuple(name for name, _ in edits.members)
