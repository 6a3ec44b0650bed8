"""Faults as a person writes them, in a fleet file or a request: read, or refused with the path."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from openimds.errors import ConfigError
from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.faults import (
    DELAY,
    EFFECTS,
    MATCHERS,
    REFUSED,
    WAIT,
    Effect,
    FaultParameter,
    ValueKind,
)
from openimds.facts.playbooks import PLAYBOOKS, ParameterValue, Playbook
from openimds.parameters import describe, nearest
from openimds.protocol.faults.fault import FaultSpec, Value
from openimds.vm.schema_tree import newest_tree, nodes

MOST_PLANS = 100
"""Every request is held against every plan."""
MOST_TEXTS = 100_000
_LARGE = 2**53
_ELEMENT = re.compile(r"\.[0-9]+(?=\.|$)")
"""The place in a list, as it stands in a way through a document."""
_OF_CONNECTIONS = ("vms", "from_s", "until_s")
"""By what connections can be chosen: nothing has been asked on them yet."""
_VMS = MATCHERS[0]
_EFFECT = FaultParameter(
    "effect", ValueKind.TEXT, "What goes wrong.", choices=tuple(EFFECTS), required=True
)
_PLAYBOOK = FaultParameter(
    "playbook", ValueKind.TEXT, "The bad day.", choices=tuple(PLAYBOOKS), required=True
)


def members_of(effect: str) -> tuple[FaultParameter, ...]:
    """Return the rows of all that may be said of a fault with this effect."""
    if effect == REFUSED:
        return (_EFFECT, *(row for row in MATCHERS if row.name in _OF_CONNECTIONS))
    return (_EFFECT, *MATCHERS, WAIT, *EFFECTS[effect].parameters)


def members_of_book(playbook: str) -> tuple[FaultParameter, ...]:
    """Return the rows of all that may be said of a playbook."""
    return (_PLAYBOOK, _VMS, *PLAYBOOKS[playbook].parameters)


def plans(value: object, where: str = "faults") -> tuple[FaultSpec, ...]:
    """Return the plans of a list of faults and playbooks.

    Raises:
        ConfigError: with the path of the mistake, such as `faults[0].until_s`.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ConfigError(where, describe(value), "a list of faults")
    found = [one for n, line in enumerate(value) for one in read(line, f"{where}[{n}]")]
    if len(found) > MOST_PLANS:
        raise ConfigError(where, f"{len(found)} faults", f"at most {MOST_PLANS}")
    return tuple(found)


def read(value: object, where: str = "") -> tuple[FaultSpec, ...]:
    """Return the plan of one fault, or those of a playbook.

    Raises:
        ConfigError: as `plans`.
    """
    if not isinstance(value, dict):
        raise ConfigError(where or "body", describe(value), "a mapping of names to values")
    if ("effect" in value) == ("playbook" in value):
        seen = "both effect and playbook" if "effect" in value else "neither effect nor playbook"
        raise ConfigError(where or "body", seen, "one of the two")
    if "playbook" in value:
        book = PLAYBOOKS[str(_value(value["playbook"], _PLAYBOOK, where))]
        said = _members(value, where, members_of_book(book.key))
        return tuple(_line(line, book, said, where) for line in book.lines)
    effect = str(_value(value["effect"], _EFFECT, where))
    return (_plan(_members(value, where, members_of(effect)), where),)


def _line(
    line: Mapping[str, object], book: Playbook, said: Mapping[str, Any], where: str
) -> FaultSpec:
    """Return the plan of a line of a playbook, with what was said of the playbook."""
    names = {key: one.name for key, one in line.items() if isinstance(one, ParameterValue)}
    filled = {key: said[names[key]] if key in names else one for key, one in line.items()}
    filled |= {"vms": said["vms"]} if "vms" in said else {}
    written = {key: [*one] if isinstance(one, tuple) else one for key, one in filled.items()}
    try:
        members = _members(written, "", members_of(str(line["effect"])))
        return _plan({**members, "playbook": book.key}, "")
    except ConfigError as error:
        path = _path(where, names.get(error.where, error.where))
        raise ConfigError(path, error.seen, error.expected, error.hint) from None


def _plan(said: dict[str, Any], where: str) -> FaultSpec:
    """Return the plan of members that were read one by one, if they go together."""
    row = EFFECTS[said["effect"]]
    of_effect = {one.name for one in row.parameters}
    parameters = {name: one for name, one in said.items() if name in of_effect}
    plan = FaultSpec(
        **{name: one for name, one in said.items() if name not in of_effect},
        parameters=parameters,
    )
    for name, seen, expected in _clashes(plan, row):
        raise ConfigError(_path(where, name), seen, expected)
    _check_fields(parameters.get("fields"), _path(where, "fields"))
    return plan


def _check_fields(fields: object, where: str) -> None:
    """Check that fields that shall be lost are some of the newest document.

    Raises:
        ConfigError: one of them is none, and would never be missed.
    """
    for field in fields if isinstance(fields, tuple) else ():
        if _ELEMENT.sub("[]", field) not in _fields():
            expected = "fields such as network or network.interface.0.ipv6"
            raise ConfigError(where, f'"{field}"', expected, nearest(field, _fields()))


@cache
def _fields() -> frozenset[str]:
    """Return the path of every member of the newest document; elements of lists are none."""
    every = (node.path for node in nodes(newest_tree()))
    return frozenset(path for path in every if path and not path.endswith("[]"))


def _clashes(plan: FaultSpec, row: Effect) -> Iterable[tuple[str, str, str]]:
    """Yield what does not go together: the name of a member, what it is, what it could be."""
    if plan.until_s is not None and plan.until_s <= plan.from_s:
        seen = f"{describe(plan.until_s)} after from_s {plan.from_s:g}"
        yield "until_s", seen, "a later time"
    if plan.nth and (plan.skip or plan.first or plan.every):
        yield "nth", "it beside skip, first or every", "it alone"
    if plan.seed and plan.probability is None:
        yield "seed", "it without a probability", "a probability beside it"
    if plan.path and not plan.path.startswith(("/", "*", "?")):
        yield "path", f'"{plan.path}", which no path is', "one that begins with / or *"
    if row.key == DELAY and not plan.delay_s:
        yield "delay_s", "nothing", f"seconds up to {WAIT.most:g}"
    if plan.parameters.get("by_bytes") == 0:
        yield "by_bytes", "0, which is right", "a number of bytes too many or too few"
    if plan.endpoint and not any(_is_both(plan.endpoint, row, one.key) for one in ENDPOINTS):
        yield "endpoint", f'"{plan.endpoint}"', "one of " + ", ".join(row.endpoints)


def _is_both(target: str, row: Effect, key: str) -> bool:
    """Tell whether an endpoint is one of a target, and one that an effect touches."""
    names = {one.key: (one.key, one.category) for one in ENDPOINTS}[key]
    return target in names and (not row.endpoints or any(name in row.endpoints for name in names))


def _members(
    value: dict[Any, object], where: str, rows: tuple[FaultParameter, ...]
) -> dict[str, Value]:
    """Return the members of an object that has no others than these, complete."""
    known = {row.name: row for row in rows}
    found: dict[str, Value] = {}
    for name, one in value.items():
        if name not in known:
            expected = "one of " + ", ".join(known)
            hint = nearest(str(name), known)
            raise ConfigError(where or "body", f'unknown key "{name}"', expected, hint)
        if one is not None:
            found[name] = _value(one, known[name], where)
    for row in rows:
        if row.name in found:
            continue
        if row.required:
            raise ConfigError(where or "body", f"no {row.name}", f"{row.name}: {row.sort}")
        if row.default is not None:
            found[row.name] = row.default
    return found


def _value(value: object, row: FaultParameter, where: str) -> Value:
    path = _path(where, row.name)
    fit = _fit(value, row.sort)
    if fit is None:
        raise ConfigError(path, describe(value), row.sort)
    if row.choices and fit not in row.choices:
        expected = "one of " + ", ".join(map(str, row.choices))
        raise ConfigError(path, describe(value), expected, nearest(str(fit), map(str, row.choices)))
    if isinstance(fit, int | float):
        is_low, is_high = row.least is not None and fit < row.least, row.most and fit > row.most
        if is_low or is_high:
            raise ConfigError(path, describe(value), f"{row.sort} {_bounds(row)}")
    return fit


def _bounds(row: FaultParameter) -> str:
    return f"from {row.least:.15g} to {row.most:.15g}"


def _fit(value: object, sort: ValueKind) -> Value | None:
    match value:
        case bool():
            return None
        case str():
            return value if sort is ValueKind.TEXT else None
        case int():
            is_fit = sort in {ValueKind.WHOLE, ValueKind.NUMBER} and abs(value) < _LARGE
            return value if is_fit else None
        case float():
            # Neither too large nor infinite, nor no number at all.
            is_fit = sort is ValueKind.NUMBER and abs(value) < _LARGE
            # 70.0 is 70: chances are drawn with the text of a plan.
            return (int(value) if value.is_integer() else value) if is_fit else None
        case list():
            is_fit = sort is ValueKind.TEXTS and 0 < len(value) <= MOST_TEXTS
            return tuple(value) if is_fit and all(isinstance(one, str) for one in value) else None
        case _:
            return None


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
