"""An edit of an entry of a file, made on its stored VM.

The edit is the difference between the entry as last applied and the entry of now. Only the leaves
that differ are changed: what the API has set in other fields stays. A leaf is every value but an
object; a list is one leaf.
"""

from typing import Any

import msgspec.json

from openimds.vm.identities import SYSTEM
from openimds.vm.tags import FORMS, pairs

_ABSENT: Any = object()
_encode = msgspec.json.Encoder(order="sorted").encode


def edited(stored: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return a stored VM with the leaves that an edit of its entry changed.

    All three have the shape of a fleet file, with the defaults of the file applied. Overrides of
    identities that are no longer assigned are left out.
    """
    before, after = (_with_spelling(members, stored) for members in (before, after))
    vm, old, new = (_with_one_form(members) for members in (stored, before, after))
    if not any(isinstance(_tags(entry), list) for entry in (old, new)):
        _make_tags_a_mapping(vm)
    members = _with_wire_forms(_edited(vm, old, new))
    if "identities" in members:
        members["identities"] = _without_unassigned(members["identities"])
    return members


def _edited(target: object, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    members = dict(target) if isinstance(target, dict) else {}
    for key in before.keys() | after.keys():
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if _is_same(old, new):
            continue
        if isinstance(new, dict) or (new is _ABSENT and isinstance(old, dict)):
            part = _edited(members.get(key), _object(old), _object(new))
            if part or key in after:
                members[key] = part
            else:
                members.pop(key, None)
        elif new is _ABSENT:
            members.pop(key, None)
        else:
            members[key] = new
    return members


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_same(one: object, other: object) -> bool:
    """Tell whether two values are the same in JSON, where 1 is not true."""
    if one is _ABSENT or other is _ABSENT or one != other:
        return False
    return _encode(one) == _encode(other)


def _tags(members: dict[str, Any]) -> object:
    return _object(members.get("compute")).get("tags")


def _with_one_form(members: dict[str, Any]) -> dict[str, Any]:
    """Return a VM with the wire forms of its tags, if any, as one list."""
    compute = _object(members.get("compute"))
    if "tagsList" not in compute and not isinstance(compute.get("tags"), str):
        return members
    others = {key: value for key, value in compute.items() if key not in FORMS}
    forms = [[form, compute[form]] for form in FORMS if form in compute]
    return {**members, "compute": {**others, "tags": forms}}


def _make_tags_a_mapping(members: dict[str, Any]) -> None:
    """Make wire forms of tags a mapping, which can be edited tag by tag."""
    forms = _tags(members)
    if isinstance(forms, list):
        by_form = dict(forms)
        exact = by_form.get("tagsList") or by_form.get("tags") or {}
        members["compute"]["tags"] = dict(pairs(exact))


def _with_wire_forms(members: dict[str, Any]) -> dict[str, Any]:
    """Return a VM with the wire forms of tags that `_with_one_form` made a list."""
    forms = _tags(members)
    if not isinstance(forms, list):
        return members
    others = {key: value for key, value in members["compute"].items() if key != "tags"}
    return {**members, "compute": {**others, **dict(forms)}}


def _with_spelling(entry: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with its overrides in the letter case of the stored ones."""
    identities = _object(entry.get("identities"))
    if "details" not in identities:
        return entry
    own = {name.lower(): name for name in _object(stored.get("identities")).get("details", {})}
    details = {own.get(key.lower(), key): detail for key, detail in identities["details"].items()}
    return {**entry, "identities": {**identities, "details": details}}


def _without_unassigned(identities: dict[str, Any]) -> dict[str, Any]:
    """Return identities without overrides of those that are not assigned."""
    assigned = {SYSTEM, *(name.lower() for name in identities.get("user", ()))}
    details = {
        name: detail
        for name, detail in identities.get("details", {}).items()
        if name.lower() in assigned
    }
    others = {key: value for key, value in identities.items() if key != "details"}
    return {**others, "details": details} if details else others
