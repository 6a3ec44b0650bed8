"""The fields of a form, from rows of parameters, and their JSON.

A text that does not fit its row stays a text, so that the operation refuses it in its own words.
"""

import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import msgspec.json
from msgspec import Struct

from openimds.parameters import DURATION, LARGEST, Parameter, camel_case, parse_duration

_SECONDS = "_s"
_WHOLE = re.compile(r"[-+]?[0-9]{1,15}")
_KINDS = {bool: "checkbox", tuple: "lines", int: "number", float: "number", str: "text"}


class FormField(Struct, frozen=True, kw_only=True):
    """A field as a template draws it.

    `kind` is `choice`, `checkbox`, `lines`, `number` or `text`; `value` is the text in it.
    """

    name: str
    label: str
    help: str
    kind: str
    choices: tuple[str, ...]
    is_required: bool
    value: str


def form_fields(rows: Iterable[Parameter], typed: Mapping[str, str]) -> list[FormField]:
    """Return the field of each row, filled in with what was typed before."""
    return [
        FormField(
            name=row.name,
            label=_label(row),
            help=row.help.replace("--", "").replace("`", ""),
            kind="choice" if row.choices else _KINDS[row.type],
            choices=tuple(map(str, row.choices)),
            is_required=row.required,
            value=typed.get(row.name, ""),
        )
        for row in rows
    ]


def body_of_form(rows: Iterable[Parameter], typed: Mapping[str, str], **more: str) -> bytes:
    """Return the JSON object of the fields that are filled in, and of other members."""
    members: dict[str, Any] = {**more}
    for row in rows:
        text = typed.get(row.name, "")
        if text.strip():
            members[camel_case(row.name)] = _typed(row, text)
    return msgspec.json.encode(members)


def _label(row: Parameter) -> str:
    words = row.name.removesuffix(_SECONDS).replace("_", " ")
    label = "VMs" if row.name == "vms" else words[:1].upper() + words[1:]
    if row.type is tuple:
        return f"{label}, one a line"
    return f"{label} (seconds, or as 2h30m)" if row.metavar == DURATION else label


def _typed(row: Parameter, text: str) -> object:
    if row.type is tuple:
        return [line for line in map(str.strip, text.splitlines()) if line]
    bare = text.strip()
    if row.type is bool:
        return bare in {"true", "on"} or bare
    if row.metavar == DURATION and (seconds := parse_duration(bare)) is not None:
        return seconds
    is_whole = _WHOLE.fullmatch(bare) is not None
    if row.type is int or (row.type is float and is_whole) or (row.takes_whole and is_whole):
        return int(bare) if is_whole else bare
    return _decimal(bare) if row.type is float else text.replace("\r\n", "\n")


def _decimal(text: str) -> object:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if isfinite(value) and abs(value) <= LARGEST else text
