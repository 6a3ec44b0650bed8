"""Strategies: VMs as an author writes them."""

from typing import Any

from hypothesis import strategies as st

from openimds.facts.fields import FieldKind
from openimds.facts.versions import GENERAL
from openimds.vm.fleet_file import parse_vm
from openimds.vm.schema_tree import Group, Leaf, Many, Node, newest_tree
from openimds.vm.types import Vm

VERSIONS = [row.name for row in GENERAL]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tag_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":;"), max_size=6)


def values(node: Node) -> st.SearchStrategy[Any]:
    """Sparse values that fit a tree."""
    match node:
        case Leaf(kind=kind):
            return st.booleans() if kind is FieldKind.BOOLEAN else texts
        case Group(members=members):
            known = {key: values(one) for key, one in members.items() if key not in _TAGS}
            return st.fixed_dictionaries({}, optional=known)
        case Many(item=item):
            return st.lists(values(item), max_size=2)
        case _:
            raise TypeError(node)


_TAGS = {"tags", "tagsList"}


@st.composite
def vms(draw: st.DrawFn) -> Vm:
    """VMs with any fields."""
    fields = draw(values(newest_tree()))
    if draw(st.booleans()):
        fields.setdefault("compute", {})["tags"] = draw(
            st.dictionaries(tag_names, texts, max_size=3)
        )
    if draw(st.booleans()):
        fields["classic"] = draw(st.booleans())
    return parse_vm(draw(st.sampled_from(["web-1", "db", "aks-pool-vmss_7"])), fields)
