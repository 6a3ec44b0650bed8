"""Plans of documents: the members of each object in order, with the origins of values.

The tree of a version and the defaults in its rows do not change, so `compile_plan` walks them once.
To fill a plan then costs as much as the members that the VM's author wrote and the defaults that
depend on the VM; all others are copied at once, from the `blank` of their object.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from openimds.facts.document import ONE_BY_DEFAULT, ONE_BY_RULE
from openimds.facts.fields import Derived, Field
from openimds.vm.schema_tree import Group, Leaf, Many

Trail: TypeAlias = tuple[int, ...]
"""The positions in the arrays on the way to a leaf, outermost first."""
Rule: TypeAlias = Callable[[Any, Trail], str]
"""The rule of a derived default; the first argument is the VM's values in `vm.defaults`."""
Derive: TypeAlias = Callable[[Rule, Trail], str]
"""Works out a default of one VM by its rule."""


class ObjectPlan(Struct, frozen=True):
    """The plan of one object of a document.

    `blank` has every member in the order and under the name of the version: a literal default, or
    None for `derived` members (leaves with a rule) and `nested` ones (objects and arrays).
    `members` has, by key in the newest document, the name of a member and its plan if it has one.
    """

    blank: dict[str, object]
    members: "dict[str, tuple[str, ObjectPlan | ArrayPlan | None]]"
    derived: tuple[tuple[str, Rule], ...]
    nested: "tuple[tuple[str, ObjectPlan | ArrayPlan], ...]"

    def fill(self, derive: Derive, written: Any, trail: Trail) -> dict[str, object]:  # noqa: ANN401 - a part of the document
        """Return a new object: the members of `written` (None: no members), and defaults.

        An array that is written as null stays null.
        """
        document = self.blank.copy()
        nulls: tuple[str, ...] = ()
        if written:
            for key, value in written.items():
                member = self.members.get(key)
                if member is None:
                    continue
                name, plan = member
                if value is None:
                    nulls = (*nulls, name) if isinstance(plan, ArrayPlan) else nulls
                else:
                    document[name] = value if plan is None else plan.fill(derive, value, trail)
        for name, rule in self.derived:
            if document[name] is None:
                document[name] = derive(rule, trail)
        for name, part in self.nested:
            if document[name] is None and name not in nulls:
                document[name] = part.fill(derive, None, trail)
        return document


class ArrayPlan(Struct, frozen=True):
    """The plan of an array, which has `default_count` elements where none is written.

    With a rule for `one` it has one element where the rule gives a text.
    """

    item: ObjectPlan
    default_count: int
    one: Rule | None = None

    def fill(self, derive: Derive, written: Any, trail: Trail) -> list[dict[str, object]]:  # noqa: ANN401 - a part of the document
        """Return a new array with the elements of `written` (None: not written), and defaults."""
        elements = written
        if written is None:
            has_one = self.one is not None and derive(self.one, trail)
            elements = (None,) * (1 if has_one else self.default_count)
        return [self.item.fill(derive, one, (*trail, i)) for i, one in enumerate(elements)]


def compile_plan(tree: Group, rules: Mapping[Derived, Rule]) -> ObjectPlan:
    """Return the plan of the objects along a tree, whose derived defaults follow `rules`.

    Raises:
        TypeError: the tree has a leaf without a row, or a node with free names.
    """
    blank: dict[str, object] = {}
    members: dict[str, tuple[str, ObjectPlan | ArrayPlan | None]] = {}
    derived: list[tuple[str, Rule]] = []
    nested: list[tuple[str, ObjectPlan | ArrayPlan]] = []
    for key, node in tree.members.items():
        name = tree.names.get(key, key)
        part: ObjectPlan | ArrayPlan | None = None
        blank[name] = None
        match node:
            case Leaf(row=Field(default=Derived() as default)):
                derived.append((name, rules[default]))
            case Leaf(row=Field(default=default)):
                blank[name] = default
            case Group():
                part = compile_plan(node, rules)
            case Many(path=path, item=Group() as item):
                one = rules[ONE_BY_RULE[path]] if path in ONE_BY_RULE else None
                part = ArrayPlan(compile_plan(item, rules), int(path in ONE_BY_DEFAULT), one)
            case _:
                raise TypeError(f"{node.path}: no leaf with a row, object or array of objects")
        if part:
            nested.append((name, part))
        members[key] = (name, part)
    return ObjectPlan(blank, members, tuple(derived), tuple(nested))
