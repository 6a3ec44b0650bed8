"""The JSON type of a VM, made from the tree of a fleet file's keys."""

from types import GenericAlias
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from openimds.admin.input_types import list_type, page_type
from openimds.facts.fields import FieldKind
from openimds.vm.schema import vm_tree
from openimds.vm.schema_tree import Leaf, Many, Named, Node, Plain
from openimds.vm.validate import is_nullable

_KINDS = {FieldKind.TEXT: str, FieldKind.BOOLEAN: bool, FieldKind.NUMBER: int}


class TagPair(Struct, frozen=True):
    """A tag as an element of `tagsList`."""

    name: str | UnsetType = UNSET
    value: str | UnsetType = UNSET


Tags: TypeAlias = dict[str, str] | str | list[TagPair | None]
"""Tags as a mapping, as `name:value;…`, or as a list of pairs."""
_TAGS = {"tags": Tags, "tagsList": Tags | None}
_READ_ONLY = {"readOnly": True}
_Name: TypeAlias = Annotated[str, Meta(description="The name in the path.")]
_Revision: TypeAlias = Annotated[int, Meta(extra_json_schema=_READ_ONLY)]
_Origin: TypeAlias = Annotated[
    str, Meta(description="api, file, document or default.", extra_json_schema=_READ_ONLY)
]
_Quarantined: TypeAlias = Annotated[
    str,
    Meta(description="The reason why it is not served.", extra_json_schema=_READ_ONLY),
]
_Redacted: TypeAlias = Annotated[
    list[str],
    Meta(
        description="Members that are left out: the token's role is below admin.",
        extra_json_schema=_READ_ONLY,
    ),
]
_HEAD: dict[str, Any] = {"name": _Name, "revision": _Revision, "origin": _Origin}
READ_ONLY: dict[str, Any] = {**_HEAD, "quarantined": _Quarantined, "redacted": _Redacted}
"""The members of a VM in the admin API that a fleet file does not have."""


def json_type(node: Node, name: str) -> Any:  # noqa: ANN401 - a type form
    """Return the type of a node; `name` is that of the struct of a group.

    A group that is written as null has no members, as `web-1:` in a file of YAML.
    """
    match node:
        case Leaf():
            return Literal[node.choices] if node.choices else _KINDS[node.kind]
        case Plain():
            return Any
        case Many():
            items = list_type(json_type(node.item, name))
            return items | None if is_nullable(node) else items
        case Named():
            return GenericAlias(dict, (str, json_type(node.item, name))) | None
        case _:
            members = optional_members(node.members, name)
            return defstruct(name, members, forbid_unknown_fields=True) | None


def optional_members(members: dict[str, Node], name: str) -> list[tuple[str, Any, Any]]:
    """Return the fields of a group for `defstruct`, each of them optional."""
    types = {
        key: json_type(node, f"{name}{key[:1].upper()}{key[1:]}") for key, node in members.items()
    }
    if name == "VmCompute":
        types |= _TAGS
    return [(key, kind | UnsetType, UNSET) for key, kind in types.items()]


_MEMBERS = optional_members(vm_tree().members, "Vm")
VmInput = defstruct(
    "VmInput",
    [*((key, kind | UnsetType, UNSET) for key, kind in READ_ONLY.items()), *_MEMBERS],
    forbid_unknown_fields=True,
)
VmView = defstruct(
    "VmView",
    [
        *_HEAD.items(),
        ("quarantined", _Quarantined | UnsetType, UNSET),
        ("redacted", _Redacted | UnsetType, UNSET),
        *_MEMBERS,
    ],
    forbid_unknown_fields=True,
)
VmPage = page_type(
    "VmPage",
    VmView,
    (
        "revision",
        Annotated[int, Meta(description="That of the last change before this page was read.")],
    ),
)
