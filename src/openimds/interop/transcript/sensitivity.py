"""Placeholders by document: the redaction of every path, taken from the rows of `facts`.

A path without a row is replaced too (`Redaction.OTHER`), so that a field that Azure adds later
gives nothing away.
"""

from openimds.facts import attested, balancer, events, versions
from openimds.facts.document import FIELDS
from openimds.facts.redaction import Redaction
from openimds.interop.transcript.location import ATTESTED, BALANCER, EVENTS, INSTANCE, VERSIONS


def _of_balancer() -> dict[str, Redaction]:
    return {
        f"loadbalancer.{row.name}[].{member.name}": member.redaction
        for row in balancer.LISTS
        for member in row.members
    }


def _of_events() -> dict[str, Redaction]:
    return {
        events.INCARNATION.path: events.INCARNATION.redaction,
        **{
            f"Events[].{row.name}{'[]' if row.is_list else ''}": row.redaction
            for row in events.MEMBERS
        },
    }


def _of_attested() -> dict[str, Redaction]:
    """Return the envelope and, below `signed`, the payload that its signature carries."""
    return {
        **{row.path: row.redaction for row in attested.ENVELOPE},
        **{
            f"signed.{row.name}.{leaf}".removesuffix("."): row.redaction
            for row in attested.MEMBERS
            for leaf in row.leaves or ("",)
        },
    }


REDACTIONS: dict[str, dict[str, Redaction]] = {
    INSTANCE: {row.path: row.redaction for row in FIELDS},
    BALANCER: _of_balancer(),
    EVENTS: _of_events(),
    ATTESTED: _of_attested(),
    VERSIONS: {versions.LISTED.path: versions.LISTED.redaction},
}
"""The redaction of each path, by document."""

HEADERS = frozenset(
    {
        "allow",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "expires",
        "keep-alive",
        "pragma",
        "retry-after",
        "server",
        "transfer-encoding",
        "vary",
    }
)
"""Headers whose values identify no VM."""

_WORDS = """
    applications availabilitysets backendaddresspools communitygalleries dedicatedhostgroups
    dedicatedhosts disks galleries hostgroups hosts images keys keyvaults loadbalancers
    microsoft.compute microsoft.keyvault microsoft.managedidentity microsoft.network
    microsoft.storage networkinterfaces providers resourcegroups secrets sharedgalleries snapshots
    storageaccounts subscriptions userassignedidentities vaults versions
    virtualmachines virtualmachinescalesets virtualnetworks
"""
WORDS = frozenset(_WORDS.split())
"""Segments of resource ids that are Azure's own words, in lower case."""
