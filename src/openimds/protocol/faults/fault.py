"""One fault as a value: the effect, by what requests are chosen for it, and when."""

from typing import Any

import msgspec.json
from msgspec import Struct, field, structs

from openimds.facts.faults import EFFECTS, Effect
from openimds.protocol.request import Query
from openimds.vm.types import Vm

Value = str | float | tuple[str, ...]


class FaultSpec(Struct, frozen=True, omit_defaults=True):
    """What shall go wrong. A member that has its default was not said, and fits everything.

    Seconds count from when the plan is set. `parameters` are those of the effect, complete;
    `playbook` is the one that the plan came with.
    """

    effect: str
    vms: tuple[str, ...] = ()
    endpoint: str = ""
    path: str = ""
    method: str = ""
    nth: int = 0
    skip: int = 0
    first: int = 0
    every: int = 0
    from_s: float = 0
    until_s: float | None = None
    probability: float | None = None
    seed: str = ""
    delay_s: float = 0
    parameters: dict[str, Value] = field(default_factory=dict)
    playbook: str = ""

    @property
    def row(self) -> Effect:
        """The row of the effect."""
        return EFFECTS[self.effect]


class Fault(Struct, frozen=True):
    """A plan that is played on a request: the `number`-th of this VM that fits it.

    `before` is the VM as it was when the plan was set, if it was there and the effect wants it.
    """

    plan: FaultSpec
    vm: str
    number: int
    before: Vm | None = None

    @property
    def row(self) -> Effect:
        """The row of the effect."""
        return self.plan.row

    def whole(self, name: str) -> int:
        """Return a parameter of the effect that is a whole number."""
        value = self.plan.parameters[name]
        assert isinstance(value, int)
        return value

    def number_of(self, name: str, otherwise: float = 0) -> float:
        """Return a parameter of the effect that is a number; some may be left out."""
        value = self.plan.parameters.get(name, otherwise)
        assert isinstance(value, int | float)
        return value

    def text(self, name: str) -> str:
        """Return a parameter of the effect that is a text."""
        return str(self.plan.parameters[name])


def fault_to_value(plan: FaultSpec) -> dict[str, Any]:
    """Return a plan as a person writes it, without what has its default."""
    members: dict[str, Any] = msgspec.to_builtins(plan)
    members |= members.pop("parameters", {})
    return {name: [*one] if isinstance(one, tuple) else one for name, one in members.items()}


def text_of(plan: FaultSpec) -> str:
    """Return what equal plans share, wherever and by whom they were set."""
    plain = structs.replace(plan, playbook="", vms=())
    return msgspec.json.encode(plain, order="sorted").decode()


def touches(row: Effect, asked: Query) -> bool:
    """Tell whether an effect can be seen on a question."""
    if not row.endpoints:
        return True
    key = asked.endpoint.key if asked.endpoint else ""
    return key in row.endpoints or asked.category.key in row.endpoints
