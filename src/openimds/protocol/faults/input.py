"""Read faults and playbooks; refuse mistakes with their path."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from msgspec import structs

from openimds.errors import ConfigError
from openimds.facts.effects import Effect, PublicResource
from openimds.facts.endpoints import ENDPOINTS
from openimds.facts.fault_parameters import (
    ADDRESS,
    GUESTS_ALONE,
    HANG,
    HEADER,
    MATCHERS,
    PUBLIC_MATCHERS,
    WAIT,
    FaultParameter,
    ValueKind,
)
from openimds.facts.faults import DELAY, EDITED_TOKEN, EFFECTS, RESPONSE, STATUS, STATUSES
from openimds.facts.playbooks import PLAYBOOKS, ParameterValue, Playbook
from openimds.facts.public_faults import ANSWER, HANGING, LATE
from openimds.parameters import (
    DURATION,
    MOST_ITEMS,
    Parameter,
    describe,
    nearest,
    old_names,
    path_of,
    read_fields,
    read_value,
)
from openimds.protocol.faults.custom_response import check_response
from openimds.protocol.faults.edited_token import check_edits
from openimds.protocol.faults.fault import FaultSpec, default_header
from openimds.protocol.faults.retry_after import check_retry_after
from openimds.vm.schema_tree import newest_tree, nodes

MOST_FAULTS = 100
"""The most faults of a server: each request is matched against every one."""
_ELEMENT = re.compile(r"\.[0-9]+(?=\.|$)")
"""The index of a list's element in the path of a field."""
_OF_CONNECTIONS = ("vms", "from_s", "until_s")
"""The matchers of a connection: no request has been read on it yet."""
_VMS = MATCHERS[0]
_ONE_ADDRESS = (PublicResource.OCSP,)
"""The documents of the public listener that have one address."""
_EFFECT = FaultParameter(
    "effect", ValueKind.TEXT, "The effect of the fault.", choices=tuple(EFFECTS), required=True
)
_PLAYBOOK = FaultParameter(
    "playbook", ValueKind.TEXT, "The playbook.", choices=tuple(PLAYBOOKS), required=True
)
_TYPES: dict[ValueKind, type] = {
    ValueKind.TEXT: str,
    ValueKind.NUMBER: float,
    ValueKind.WHOLE: int,
    ValueKind.TEXTS: tuple,
    ValueKind.WORD: str,
    ValueKind.LINES: tuple,
    ValueKind.EDITS: tuple,
}


def effect_rows(effect: str) -> tuple[FaultParameter, ...]:
    """Return the rows of all members of a fault with this effect."""
    if resource := EFFECTS[effect].resource:
        selectors = (
            row for row in PUBLIC_MATCHERS if row.name != ADDRESS or resource not in _ONE_ADDRESS
        )
        return (_EFFECT, *selectors, WAIT, *EFFECTS[effect].parameters)
    if EFFECTS[effect].precedes_requests:
        return (_EFFECT, *(row for row in MATCHERS if row.name in _OF_CONNECTIONS))
    matchers = (_with_default(row, effect) if row.name == HEADER else row for row in MATCHERS)
    return (_EFFECT, *matchers, WAIT, *EFFECTS[effect].parameters)


def _with_default(row: FaultParameter, effect: str) -> FaultParameter:
    """Return the matcher `header` with the default for an effect in its help."""
    default = f" Default: {default_header(effect)}"
    if effect == STATUS:
        others = [
            other for other in STATUSES if default_header(effect, other) != default_header(effect)
        ]
        default += "".join(f", for {other} {default_header(effect, other)}" for other in others)
    return structs.replace(row, help=f"{row.help}{default}.")


def playbook_rows(playbook: str) -> tuple[FaultParameter, ...]:
    """Return the rows of all members of a playbook."""
    row = PLAYBOOKS[playbook]
    return (_PLAYBOOK, *(() if _is_public(row) else (_VMS,)), *row.parameters)


def _is_public(playbook: Playbook) -> bool:
    """Tell whether all lines of a playbook are for the public listener."""
    return all(EFFECTS[str(line["effect"])].resource for line in playbook.lines)


def check_selectors(name: str, members: Iterable[str], where: str = "") -> None:
    """Check that a fault or playbook of the public listener selects no requests of guests.

    Raises:
        ConfigError: it has such a selector.
    """
    if not (EFFECTS[name].resource if name in EFFECTS else _is_public(PLAYBOOKS[name])):
        return
    for member in members:
        if member in GUESTS_ALONE:
            raise ConfigError(
                path_of(where, member),
                f'a selector of guests\' requests beside "{name}"',
                "selectors of verifiers' requests, such as path",
                "The public listener cannot know for which VM a verifier asks. For one VM, use the "
                "fault attested-document, such as scenario=revoked-leaf",
            )


def parameter_of(row: FaultParameter) -> Parameter:
    """Return the parameter of a row, for the reader of untrusted values."""
    is_list = row.kind is ValueKind.TEXTS  # Any other list has its own bounds.
    return Parameter(
        row.name,
        _TYPES[row.kind],
        row.help,
        row.default,
        minimum=1 if is_list else row.minimum,
        maximum=MOST_ITEMS if is_list and row.maximum is None else row.maximum,
        choices=row.choices,
        required=row.required,
        takes_whole=row.kind is ValueKind.WORD,
        metavar=DURATION if row.name.endswith("_s") else "",
    )


def read_faults(value: object, where: str = "faults") -> tuple[FaultSpec, ...]:
    """Read a list of faults and playbooks, with every fault of each playbook.

    Raises:
        ConfigError: with the path of the mistake, such as `faults[0].until_s`.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ConfigError(where, describe(value), "a list of faults")
    specs = [
        spec for place, entry in enumerate(value) for spec in read_fault(entry, f"{where}[{place}]")
    ]
    if len(specs) > MOST_FAULTS:
        raise ConfigError(where, f"{len(specs)} faults", f"at most {MOST_FAULTS}")
    return tuple(specs)


def read_fault(value: object, where: str = "") -> tuple[FaultSpec, ...]:
    """Read one fault, or a playbook with all its faults.

    Raises:
        ConfigError: with the path of the mistake, such as `until_s`.
    """
    place = where or "body"
    if not isinstance(value, dict):
        raise ConfigError(place, describe(value), "a mapping of names to values")
    if ("effect" in value) == ("playbook" in value):
        seen = "both effect and playbook" if "effect" in value else "neither effect nor playbook"
        raise ConfigError(place, seen, "one of the two")
    if "playbook" in value:
        playbook = PLAYBOOKS[_key(_PLAYBOOK, value, where)]
        check_selectors(playbook.key, value, where)
        members = _read(playbook_rows(playbook.key), value, where)
        return tuple(_of_line(line, playbook, members, where) for line in playbook.lines)
    effect = _key(_EFFECT, value, where)
    check_selectors(effect, value, where)
    return (_spec(_read(effect_rows(effect), value, where), where),)


def _key(row: FaultParameter, value: Mapping[str, object], where: str) -> str:
    key = read_value(parameter_of(row), value[row.name], path_of(where, row.name))
    assert isinstance(key, str)
    return key


def _read(rows: Iterable[FaultParameter], value: object, where: str) -> dict[str, Any]:
    members = read_fields(map(parameter_of, rows), value, where)
    # 70.0 is 70: the text of a fault decides its chances.
    return {
        name: int(member) if isinstance(member, float) and member.is_integer() else member
        for name, member in members.items()
    }


def _of_line(
    line: Mapping[str, object], playbook: Playbook, members: Mapping[str, Any], where: str
) -> FaultSpec:
    """Return the fault of a playbook's line, filled in with the members of the playbook."""
    sources = {key: value.name for key, value in line.items() if isinstance(value, ParameterValue)}
    filled = {
        key: members[sources[key]] if key in sources else value for key, value in line.items()
    }
    filled |= {"vms": members["vms"]} if "vms" in members else {}
    try:
        with old_names():  # These names are those of the rows.
            fields = _read(effect_rows(str(line["effect"])), filled, "")
        return _spec({**fields, "playbook": playbook.key}, "")
    except ConfigError as error:
        path = path_of(where, sources.get(error.where, error.where))
        raise ConfigError(path, error.seen, error.expected, error.hint) from None


def _spec(members: Mapping[str, Any], where: str) -> FaultSpec:
    """Return the fault with these members, each of which is right, if they go together."""
    row = EFFECTS[members["effect"]]
    of_effect = {parameter.name for parameter in row.parameters}
    parameters = {name: value for name, value in members.items() if name in of_effect}
    spec = FaultSpec(
        **{name: value for name, value in members.items() if name not in of_effect},
        parameters=parameters,
    )
    for name, seen, expected in _clashes(spec, row):
        raise ConfigError(path_of(where, name), seen, expected)
    if row.key == RESPONSE:
        check_response(parameters, where)
    if row.key == EDITED_TOKEN:
        check_edits(parameters, where)
    check_retry_after(parameters, where)
    _check_fields(parameters.get("fields"), path_of(where, "fields"))
    return spec


def _check_fields(fields: object, where: str) -> None:
    """Check that the fields to remove are fields of the newest document.

    Raises:
        ConfigError: one of them is not, so that its removal would never show.
    """
    for field in fields if isinstance(fields, tuple) else ():
        if _ELEMENT.sub("[]", field) not in _fields():
            expected = "fields such as network or network.interface.0.ipv6"
            raise ConfigError(where, f'"{field}"', expected, nearest(field, _fields()))


@cache
def _fields() -> frozenset[str]:
    """Return the path of every member of the newest document, without elements of lists."""
    paths = (node.path for node in nodes(newest_tree()))
    return frozenset(path for path in paths if path and not path.endswith("[]"))


def _clashes(spec: FaultSpec, row: Effect) -> Iterable[tuple[str, str, str]]:
    """Yield each member that contradicts another: its name, its value, the expectation."""
    if spec.until_s is not None and spec.until_s <= spec.from_s:
        yield "until_s", f"{describe(spec.until_s)} after from_s {spec.from_s:g}", "a later time"
    if spec.nth and (spec.skip or spec.first or spec.every):
        yield "nth", "nth beside skip, first or every", "nth alone"
    if spec.seed and spec.probability is None:
        yield "seed", "a seed without a probability", "a probability beside it"
    if spec.path and not spec.path.startswith(("/", "*", "?")):
        yield "path", f'"{spec.path}"', "a path that begins with /, * or ?"
    answer = spec.parameters.get(ANSWER)
    if (row.key == DELAY or answer == LATE) and not spec.delay_s:
        yield "delay_s", "nothing", f"seconds up to {WAIT.maximum:g}"
    if answer not in (None, HANGING) and HANG.name in spec.parameters:
        yield HANG.name, f"a hang beside the answer {answer}", f"{ANSWER} {HANGING} beside it"
    if spec.parameters.get("by_bytes") == 0:
        yield "by_bytes", "0, the right length", "a number of bytes too many or too few"
    if spec.endpoint and not any(_is_both(spec.endpoint, row, item.key) for item in ENDPOINTS):
        yield "endpoint", f'"{spec.endpoint}"', "one of " + ", ".join(row.endpoints)


def _is_both(target: str, row: Effect, key: str) -> bool:
    """Tell whether an endpoint belongs to a target and an effect can show on it."""
    names = {item.key: (item.key, item.category) for item in ENDPOINTS}[key]
    return target in names and (not row.endpoints or any(name in row.endpoints for name in names))
