"""A VM on a host: the facts by which control checks requests."""

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec import Struct

from openimds.facts.clouds import CLOUDS
from openimds.facts.confidential import Processor
from openimds.facts.kinds import KINDS
from openimds.protocol.attested_document import facts_of, scenario_of
from openimds.protocol.confidential import processor
from openimds.vm.defaults import text_at
from openimds.vm.identities import Principal, principals
from openimds.vm.types import Vm

ATTESTED_FAULT, FORGED_FAULT = "attested-document", "forged-token"
"""The effects of faults that change a document or a token."""


class PlacedVm(Struct, frozen=True, kw_only=True):
    """The facts of a VM on a host.

    `facts`, `scenario`, `domain` and `leaf_days` are those of its attested documents; `domain` is
    empty in a cloud without any. `processor` None is that of a VM that is not confidential.
    """

    cloud: str
    region: str
    principals: tuple[Principal, ...]
    facts: dict[str, Any]
    domain: str
    leaf_days: int = 0
    scenario: str = ""
    processor: Processor | None = None


def placed_vm(vm: Vm) -> PlacedVm:
    """Return the facts of a VM."""
    return PlacedVm(
        cloud=vm.cloud,
        region=text_at(vm, "compute.location"),
        principals=principals(vm),
        facts=facts_of(vm),
        domain=CLOUDS[vm.cloud].domain,
        leaf_days=KINDS[vm.kind].leaf_days,
        scenario=scenario_of(vm),
        processor=processor(vm),
    )


Placement: TypeAlias = Callable[[str, str], PlacedVm | None]
"""Returns the VM of a name if it is placed on a host (first argument), or None."""

AsksFor: TypeAlias = Callable[[str, str, str], bool]
"""Tells whether a fault set for a VM has an effect with a value, such as the name of a forgery."""
