"""Stored VMs that cannot be served, and the reason of each.

The body of a row may be damaged or of another release, an address or a listener may belong to
another VM, and a listener may not open. Such a row stays in the store as it is and stops nobody
else. It is served again when what it lacks is free, or once it is replaced.
"""

from collections.abc import Iterator, Mapping
from heapq import nsmallest
from shlex import quote

from msgspec import Struct

from openimds.errors import ConfigError

MOST_DETAILED = 20
"""So many quarantined VMs are reported by name; the others are counted."""


class QuarantinedVm(Struct, frozen=True):
    """A stored VM that is not served; `claim` is what it cannot have.

    That is an address or a listener, or empty if the body is at fault.
    """

    name: str
    reason: str
    claim: str = ""


class TakenError(ConfigError):
    """A VM cannot have an address or listener; `other` is the VM that has it."""

    def __init__(self, error: ConfigError, name: str, claim: str, other: str = "") -> None:
        """Keep the claim of the VM `name`, and the parts of the error."""
        super().__init__(error.where, error.seen, error.expected, error.hint)
        self.name, self.claim, self.other = name, claim, other


def quarantined(name: str, error: ConfigError) -> QuarantinedVm:
    """Return the quarantine of a VM for an error."""
    return QuarantinedVm(name, str(error), error.claim if isinstance(error, TakenError) else "")


def notices(quarantine: Mapping[str, QuarantinedVm]) -> Iterator[str]:
    """Yield a message for each quarantined VM, and one for those beyond the bound."""
    for name in nsmallest(MOST_DETAILED, quarantine):
        yield (
            f"{name} is not served: {quarantine[name].reason}. It stays in the store; replace it "
            f"with openimds vm put, or type openimds vm remove {quote(name)}"
        )
    if (more := len(quarantine) - MOST_DETAILED) > 0:
        yield f"{more} more stored VMs are not served; openimds vm list shows them"


def summary(quarantine: Mapping[str, QuarantinedVm]) -> str:
    """Return one sentence that names the quarantined VMs, nothing if there are none."""
    if not quarantine:
        return ""
    names = nsmallest(MOST_DETAILED, quarantine)
    more = len(quarantine) - len(names)
    return "not served: " + ", ".join(names) + (f", and {more} more" if more else "")
