"""The instance document of Azure Arc's agent, which runs on machines outside Azure."""

from openimds.facts.evidence import chosen, observed

COMPUTE = (
    "azEnvironment",
    "isHostCompatibilityLayerVm",
    "location",
    "name",
    "offer",
    "osType",
    "placementGroupId",
    "plan",
    "platformFaultDomain",
    "platformUpdateDomain",
    "provider",
    "publicKeys",
    "publisher",
    "resourceGroupName",
    "customData",
    "resourceId",
    "securityProfile",
    "sku",
    "storageProfile",
    "subscriptionId",
    "tags",
    "tagsList",
    "version",
    "vmId",
    "vmScaleSetName",
    "vmSize",
    "zone",
)
"""The members of `compute` in the agent's own order; those without a value here are empty."""
DOCUMENT_EVIDENCE = observed(
    "S67",
    note="at 2020-06-01; an older version has the members that IMDS has there, which is assumed",
)

PRODUCTS = {"linux": "Ubuntu 24.04.3 LTS", "windows": "Windows Server 2022 Datacenter"}
"""The operating systems that `sku` names by default, by `osType`."""
AGENT_VERSION = "1.52.02916.2062"
VERSION_EVIDENCE = chosen("version holds the agent's; the recording leaves it out")

PROVIDER = "Microsoft.HybridCompute/machines"
CONNECTED = "Connected"
"""The only known member of the agent's status has this value (S111)."""
