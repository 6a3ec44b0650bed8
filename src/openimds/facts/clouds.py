"""The Azure clouds, with the values in responses that differ between them."""

from msgspec import Struct

from openimds.facts.evidence import Evidence, documented, observed
from openimds.facts.fields import Derived


class Cloud(Struct, frozen=True):
    """One cloud: its name in `compute.azEnvironment`, and one of its regions.

    `domain` is the name in the certificates of attested documents; `issuer` and `issuer_v2` begin
    the `iss` of tokens of version 1.0 and 2.0. `graph` is Microsoft Graph, which has the groups of
    a principal. A cloud without attested documents has an empty `domain`, one without tokens has
    none of the other three.

    `endpoints` are the keys of those that the cloud has, empty for all; other paths are 404.
    `newest` is the last general api-version, empty for that of the region. `empty` are the defaults
    that are empty texts in this cloud.
    """

    name: str
    location: str
    domain: str
    issuer: str
    issuer_v2: str
    graph: str
    evidence: Evidence
    endpoints: tuple[str, ...] = ()
    newest: str = ""
    empty: tuple[Derived, ...] = ()


_ISSUERS = "issuers from the cloud's public sign-in metadata, not from a recorded token"

CLOUDS: dict[str, Cloud] = {
    row.name: row
    for row in (
        Cloud(
            "AzurePublicCloud",
            "westeurope",
            "metadata.azure.com",
            "https://sts.windows.net",
            "https://login.microsoftonline.com",
            "https://graph.microsoft.com",
            observed("S15", "S18", "S25", "S26", "S33"),
        ),
        Cloud(
            "AzureUSGovernmentCloud",
            "usgovvirginia",
            "metadata.azure.us",
            "https://sts.windows.net",
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
            documented("S2", note=_ISSUERS),
        ),
        Cloud(
            "AzureChinaCloud",
            "chinaeast2",
            "metadata.azure.cn",
            "https://sts.chinacloudapi.cn",
            "https://login.partner.microsoftonline.cn",
            "https://microsoftgraph.chinacloudapi.cn",
            documented("S2", note=_ISSUERS),
        ),
        Cloud(
            "AzureGermanCloud",
            "germanycentral",
            "metadata.microsoftazure.de",
            "https://sts.microsoftazure.de",
            "https://login.microsoftonline.de",
            "https://graph.microsoft.de",
            documented("S2", note=_ISSUERS),
        ),
        Cloud(
            "AzureStack",
            "orlando",
            "",
            "",
            "",
            "",
            documented(
                "S69",
                "S125",
                note="Azure Stack Hub, whose operator names the region. That a version after its "
                "last is 400 is observed; that paths of no listed category are 404 is assumed",
            ),
            endpoints=("root", "versions", "instance"),
            newest="2021-05-01",
            empty=(Derived.TRUSTED, Derived.TEMPORARY_DISK),
        ),
    )
}
PUBLIC = "AzurePublicCloud"
