"""The values of one VM as they are needed: written, fixed, or derived."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, TypeAlias, TypeVar

from openimds.facts.document import FIELDS
from openimds.facts.fields import Derived
from openimds.vm.document_plan import Trail
from openimds.vm.types import Vm

T = TypeVar("T")

_STEPS = {row.path: tuple(row.path.replace("[]", ".").split(".")) for row in FIELDS}
"""The keys on the way to each leaf, an empty one for each array."""
_DEFAULTS = {row.path: row.default for row in FIELDS}


class Derivation:
    """The values of one VM, worked out when a document or another default needs them.

    `rules` has the rule of each derived default.
    """

    __slots__ = ("_known", "_rules", "cloud", "document", "is_varied", "name")

    def __init__(self, vm: Vm, rules: "Rules") -> None:
        """Know nothing but the document yet."""
        self._rules = rules
        self.name, self.cloud = vm.name, vm.cloud
        self.is_varied = vm.varied_network
        self.document = vm.document
        self._known: dict[object, Any] = {}
        """Results so far: values by their path, results of rules by the rule."""

    def get(self, path: str, trail: Trail = ()) -> str:
        """Return the value at a path; `trail` has a position for each `[]`."""
        if trail:
            return self._look_up(path, trail)
        if path not in self._known:
            self._known[path] = self._look_up(path, trail)
        text: str = self._known[path]
        return text

    def derived(self, rule: "Callable[[Derivation, Trail], T]", trail: Trail = ()) -> T:
        """Return the result of a rule; outside arrays it is worked out once."""
        if trail:
            return rule(self, trail)
        if rule not in self._known:
            self._known[rule] = rule(self, trail)
        result: T = self._known[rule]
        return result

    def written(self, path: str, trail: Trail = ()) -> str | None:
        """Return the value that the author of the VM wrote at a path, or None."""
        node: Any = self.document
        depth = 0
        for key in _STEPS[path]:
            if key:
                node = node.get(key)
            else:
                node = node[trail[depth]] if trail[depth] < len(node) else None
                depth += 1
            if node is None:
                return None
        return str(node)

    def has_none(self, *keys: str) -> bool:
        """Tell whether the VM has an empty or null array written at these keys."""
        node: Any = self.document
        for key in keys:
            if key not in node:
                return False
            node = node[key]
        return not node

    def _look_up(self, path: str, trail: Trail) -> str:
        text = self.written(path, trail)
        if text is not None:
            return text
        default = _DEFAULTS[path]
        if isinstance(default, Derived):
            return self.derived(self._rules[default], trail)
        return str(default)

    def hash(self, kind: str, *trail: int) -> bytes:
        """Return 32 bytes that this VM's name always has for one purpose."""
        return sha256("\0".join(("openimds", kind, self.name, *map(str, trail))).encode()).digest()


Rules: TypeAlias = Mapping[Derived, Callable[[Derivation, Trail], str]]
"""The rule of each derived default: a function of the VM and of positions in arrays."""
