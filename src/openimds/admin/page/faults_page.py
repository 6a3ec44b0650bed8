"""The page of faults: the active ones, all effects and playbooks, and a form."""

from collections.abc import Mapping
from typing import Any

from openimds.admin.page.form_fields import body_of_form, form_fields
from openimds.admin.page.page_row import FormRow, OperationCall, PageCall, PageRow
from openimds.admin.page.rendering import page_url
from openimds.admin.selection import MEMBER
from openimds.facts.fault_parameters import MATCHERS, PUBLIC_MATCHERS
from openimds.facts.faults import EFFECTS
from openimds.facts.playbooks import PLAYBOOKS
from openimds.parameters import Parameter
from openimds.protocol.faults.input import effect_rows, parameter_of, playbook_rows

MOST_NAMES = 10
"""The most names of VMs beside one fault."""
_FAULTS = "/faults"
_MATCHERS = {row.name for row in (*MATCHERS, *PUBLIC_MATCHERS)}
_SHOWN = {"id", "origin", "begun", "seen", "played", "playbook", "effect", "vms"}
"""The members of a fault that have columns of their own."""


async def faults_values(call: PageCall) -> dict[str, Any]:
    """Return the values of the page."""
    page = await call.read("list_faults")
    kind, key = _chosen(call.typed or call.query)
    typed = call.typed if call.form == _FAULTS else _asked(call.query)
    return {
        "faults": [_view(fault) for fault in page["items"]],
        "effects": [row for row in EFFECTS.values() if row.resource is None],
        "public_effects": [row for row in EFFECTS.values() if row.resource is not None],
        "playbooks": PLAYBOOKS.values(),
        "kind": kind,
        "key": key,
        "row": (EFFECTS if kind == "effect" else PLAYBOOKS)[key] if key else None,
        "fields": form_fields(_rows(kind, key), typed) if key else [],
        "is_set": call.form == _FAULTS,
    }


def _chosen(fields: Mapping[str, str]) -> tuple[str, str]:
    """Return the kind and key of the fault in a query or form."""
    for kind, rows in (("playbook", PLAYBOOKS), ("effect", EFFECTS)):
        key = fields.get(kind, "")
        if key in rows:
            return kind, key
    return "", ""


def _rows(kind: str, key: str) -> list[Parameter]:
    """Return the parameters of a fault; the first row, which names it, is left out."""
    rows = effect_rows(key) if kind == "effect" else playbook_rows(key)
    members = [parameter_of(row) for row in rows][1:]
    if any(row.name == "vms" for row in members):
        members.append(MEMBER)
    return sorted(members, key=_place)


def _place(row: Parameter) -> tuple[bool, ...]:
    """Return the place of a field: required, VMs, of the fault, matchers."""
    is_target = row.name in {"vms", MEMBER.name}
    return (not row.required, not is_target, row.name in _MATCHERS)


def _asked(query: Mapping[str, str]) -> dict[str, str]:
    return {"vms": query["vm"]} if query.get("vm") else {}


def _view(fault: dict[str, Any]) -> dict[str, Any]:
    """Return an active fault with its VMs, its meaning, and its other members as text."""
    names = fault.get("vms", [])
    row = EFFECTS[fault["effect"]]
    return {
        **fault,
        "playbook": fault.get("playbook", ""),
        "about": row.about,
        "is_public": row.resource is not None,
        "vms": names[:MOST_NAMES],
        "others": max(len(names) - MOST_NAMES, 0),
        "members": [(name, _text(fault[name])) for name in fault if name not in _SHOWN],
    }


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _set(_: PageCall, typed: dict[str, str]) -> OperationCall:
    kind, key = _chosen(typed)
    named = {kind: key} if key else {}
    body = body_of_form(_rows(kind, key) if key else [], typed, **named)
    return OperationCall(operation="set_faults", body=body)


def _is_set(_: PageCall, __: dict[str, str], answer: Any) -> str:  # noqa: ANN401 - JSON
    count = len(answer["items"])
    return f"{count} fault{'s' if count != 1 else ''} set."


def _back(*_: object) -> str:
    return page_url(_FAULTS)


PAGES: tuple[PageRow, ...] = (
    PageRow(
        path=_FAULTS, title="Faults", template="faults.html", values=faults_values, live=("active",)
    ),
)
FORMS: tuple[FormRow, ...] = (
    FormRow(path=_FAULTS, page=_FAULTS, call=_set, notice=_is_set, then=_back),
    FormRow(
        path=f"{_FAULTS}/clear",
        page=_FAULTS,
        call=lambda _, __: OperationCall(operation="clear_faults"),
        notice=lambda *_: "All faults are cleared.",
        then=_back,
    ),
    FormRow(
        path=f"{_FAULTS}/{{name}}/clear",
        page=_FAULTS,
        call=lambda call, _: OperationCall(operation="clear_fault", path={"id": call.name}),
        notice=lambda call, *_: f"Fault {call.name} is cleared.",
        then=_back,
    ),
)
