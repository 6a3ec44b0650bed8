"""The Azure clouds: what differs from one to the next.

Only what some answer needs stands here; names of issuers and of certificate subjects come with the
answers that carry them.
"""

from msgspec import Struct

from openimds.spec.evidence import Evidence, documented, observed


class Cloud(Struct, frozen=True):
    """One cloud: its name in `compute.azEnvironment` and a region that it has."""

    name: str
    location: str
    evidence: Evidence


CLOUDS: dict[str, Cloud] = {
    row.name: row
    for row in (
        Cloud("AzurePublicCloud", "westeurope", observed("S15", "S18", "S25", "S26")),
        Cloud("AzureUSGovernmentCloud", "usgovvirginia", documented("S2")),
        Cloud("AzureChinaCloud", "chinaeast2", documented("S2")),
        Cloud("AzureGermanCloud", "germanycentral", documented("S2")),
    )
}
PUBLIC = "AzurePublicCloud"
