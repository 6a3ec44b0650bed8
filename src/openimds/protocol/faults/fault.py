"""One fault as a value: its effect, its matchers and its time window."""

from typing import Any

import msgspec.json
from msgspec import Struct, field, structs

from openimds.facts.effects import Effect
from openimds.facts.faults import EFFECTS, STATUS, STATUSES
from openimds.protocol.request import Query
from openimds.vm.types import Vm

Value = str | float | tuple[str, ...]


class FaultSpec(Struct, frozen=True, omit_defaults=True):
    """One fault: an effect and its matchers. A matcher with its default matches every request.

    Seconds count from when the fault is set. `parameters` are those of the effect, complete;
    `playbook` is the playbook that the fault is part of, or empty.
    """

    effect: str
    vms: tuple[str, ...] = ()
    endpoint: str = ""
    path: str = ""
    method: str = ""
    header: str = ""
    nth: int = 0
    skip: int = 0
    first: int = 0
    every: int = 0
    from_s: float = 0
    until_s: float | None = None
    probability: float | None = None
    seed: str = ""
    source: str = ""
    address: str = ""
    delay_s: float = 0
    parameters: dict[str, Value] = field(default_factory=dict)
    playbook: str = ""

    @property
    def row(self) -> Effect:
        """The row of the effect."""
        return EFFECTS[self.effect]

    @property
    def is_public(self) -> bool:
        """Whether it hits requests at the public listener, not those of guests."""
        return self.row.resource is not None

    @property
    def matched_header(self) -> str:
        """The value of `header`, by default that of the effect or of its status."""
        return self.header or default_header(self.effect, self.parameters.get("status"))


class Fault(Struct, frozen=True):
    """A fault that hits a request: the `number`-th matching one of this VM.

    `before` is the VM as it was when the fault was set, for the effect that serves it; None if the
    effect needs no such VM, or the VM was added later.
    """

    spec: FaultSpec
    vm: str
    number: int
    before: Vm | None = None

    @property
    def row(self) -> Effect:
        """The row of the effect."""
        return self.spec.row

    def whole(self, name: str) -> int:
        """Return a whole-number parameter of the effect."""
        value = self.spec.parameters[name]
        assert isinstance(value, int)
        return value

    def number_of(self, name: str, otherwise: float = 0) -> float:
        """Return a number parameter of the effect, or `otherwise` if it is absent."""
        value = self.spec.parameters.get(name, otherwise)
        assert isinstance(value, int | float)
        return value

    def text(self, name: str) -> str:
        """Return a text parameter of the effect."""
        return str(self.spec.parameters[name])


def default_header(effect: str, status: object = None) -> str:
    """Return the default of `header` for an effect, and its status if any."""
    if effect == STATUS and status in STATUSES:
        return STATUSES[status].header
    return EFFECTS[effect].header


def fault_to_value(spec: FaultSpec) -> dict[str, Any]:
    """Return a fault as a fleet file writes it, without members that have their defaults."""
    members: dict[str, Any] = msgspec.to_builtins(spec)
    members |= members.pop("parameters", {})
    return {
        name: [*value] if isinstance(value, tuple) else value for name, value in members.items()
    }


def canonical_text(spec: FaultSpec) -> str:
    """Return the text that equal faults share, for any VMs and from any playbook."""
    # The default has no text, so that a fault of an older release keeps its chances.
    header = (
        ""
        if spec.header == default_header(spec.effect, spec.parameters.get("status"))
        else spec.header
    )
    plain = structs.replace(spec, playbook="", vms=(), header=header)
    return msgspec.json.encode(plain, order="sorted").decode()


def affects(row: Effect, query: Query) -> bool:
    """Tell whether an effect can show on a query."""
    if not row.endpoints:
        return True
    key = query.endpoint.key if query.endpoint else ""
    return key in row.endpoints or query.category.key in row.endpoints
