"""The instance document: all field rows, sorted by path, and the earlier names."""

from openimds.facts.compute import COMPUTE
from openimds.facts.fields import Derived, Field, Rename
from openimds.facts.network import EXTENDED, NETWORK, RENAMES
from openimds.facts.storage import STORAGE

FIELDS: tuple[Field, ...] = tuple(
    sorted((*COMPUTE, *STORAGE, *NETWORK, *EXTENDED), key=lambda row: row.path)
)
OLD_NAMES: tuple[Rename, ...] = RENAMES
CLASSIC_MEMBERS = frozenset({"network"})
"""The top-level members that a VM of the classic deployment model has (S1, S2; recorded in S18)."""
ONE_BY_RULE = {"compute.publicKeys": Derived.HAS_KEY}
"""Arrays that have one element by default where the rule gives a text."""
ONE_BY_DEFAULT = frozenset(
    {
        "network.interface",
        "network.interface[].ipv4.ipAddress",
        "network.interface[].ipv4.subnet",
    }
)
"""Arrays that have one element by default; those of no row here are empty by default."""
