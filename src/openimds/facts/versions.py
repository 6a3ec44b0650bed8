"""The api-versions, oldest first, and the catalog of a region.

Instance, attested, identity and load balancer share the general list; scheduled events has a list
of its own. Azure rolls a version out region by region and never withdraws one, so a region knows
the list up to its newest version: that is a `Catalog`.
"""

from functools import cache

from msgspec import Struct

from openimds.facts.evidence import Evidence, client, documented, observed
from openimds.facts.redaction import KEPT, DocumentMember


class ApiVersion(Struct, frozen=True):
    """One api-version and its evidence."""

    name: str
    evidence: Evidence


def _documented(names: str) -> list[ApiVersion]:
    return [ApiVersion(name, documented("S2")) for name in names.split()]


GENERAL: tuple[ApiVersion, ...] = (
    *_documented("2017-03-01 2017-04-02 2017-08-01 2017-10-01 2017-12-01"),
    *_documented("2018-02-01 2018-04-02 2018-10-01"),
    *_documented("2019-02-01 2019-03-11 2019-04-30 2019-06-01 2019-06-04 2019-08-01 2019-08-15"),
    *_documented("2019-11-01"),
    *_documented("2020-06-01 2020-07-15 2020-09-01 2020-10-01 2020-12-01"),
    *_documented("2021-01-01 2021-02-01 2021-03-01 2021-05-01"),
    ApiVersion("2021-08-01", client("S2", "S12", note="no swagger; cloud-init requests it first")),
    *_documented("2021-10-01 2021-11-01 2021-11-15 2021-12-13"),
    *_documented("2023-07-01 2023-11-15"),
    ApiVersion("2024-03-15", observed("S30", note="in a recorded newest-versions list")),
    ApiVersion("2024-07-17", observed("S30", note="in a recorded newest-versions list")),
    ApiVersion("2025-04-07", observed("S30", note="in a recorded newest-versions list")),
    ApiVersion("2025-07-24", client("S15", note="in no document")),
    ApiVersion("2025-11-11", observed("S17", "S110", note="the newest of a recorded list")),
    ApiVersion("2025-11-15", client("S16", "S28", note="in no document; two clients prefer it")),
)
"""The general list: every category but scheduled events."""

SCHEDULED_EVENTS: tuple[ApiVersion, ...] = (
    ApiVersion("2017-03-01", documented("S5", note="preview")),
    ApiVersion("2017-08-01", documented("S5")),
    ApiVersion("2017-11-01", documented("S5", note="refused on one VM in 2020-01")),
    ApiVersion("2019-01-01", documented("S5")),
    ApiVersion("2019-04-01", documented("S5")),
    ApiVersion("2019-08-01", documented("S5")),
    ApiVersion("2020-07-01", documented("S5")),
    ApiVersion("2024-07-09", client("S5", note="requested by handlers of SpotRebalance…")),
)
"""The list of scheduled events alone."""

LISTED = DocumentMember("apiVersions[]", KEPT, documented("S1", "S2", "S4"))
"""An entry of the document of `/metadata/versions`."""

NEWEST = GENERAL[-1].name
NEWEST_IN_ERRORS = 3
"""The length of `newest-versions` in an error, in every recording (S2, S30)."""


class Catalog(Struct, frozen=True):
    """The general versions that one region knows, oldest first."""

    general: tuple[str, ...]
    known: frozenset[str]
    newest_first: tuple[str, ...]


@cache
def catalog(newest: str = NEWEST) -> Catalog:
    """Return the catalog of a region whose newest general api-version is `newest`.

    Raises:
        KeyError: `newest` is not in the general list.
    """
    names = tuple(row.name for row in GENERAL)
    if newest not in names:
        raise KeyError(newest)
    general = names[: names.index(newest) + 1]
    return Catalog(general, frozenset(general), general[: -NEWEST_IN_ERRORS - 1 : -1])
