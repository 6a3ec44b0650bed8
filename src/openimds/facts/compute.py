"""The field rows of `compute`, without its storage profile."""

from openimds.facts.evidence import client as by_client
from openimds.facts.evidence import documented, inferred, observed
from openimds.facts.fields import Derived, Field

COMPUTE: tuple[Field, ...] = (
    Field(
        "compute.additionalCapabilities.hibernationEnabled",
        "2021-11-01",
        observed("S2", "S4", "S25", "S26"),
        "false",
        "false",
    ),
    Field(
        "compute.azEnvironment",
        "2018-10-01",
        observed("S15", "S18", "S25", "S26", note="the samples' upper-case form is not recorded"),
        "AzurePublicCloud",
        Derived.CLOUD,
    ),
    Field(
        "compute.customData",
        "2019-02-01",
        observed("S15", "S18", note="always empty; swagger drops it from 2019-06-01 on"),
        "",
    ),
    Field("compute.evictionPolicy", "2020-12-01", observed("S4", "S15"), "Deallocate"),
    Field("compute.extendedLocation.name", "2021-03-01", observed("S2", "S26"), "attatlanta1"),
    Field("compute.extendedLocation.type", "2021-03-01", observed("S2", "S26"), "edgeZone"),
    Field("compute.host.id", "2021-11-15", observed("S2", "S26", note="empty when none"), ""),
    Field("compute.hostGroup.id", "2021-11-15", observed("S2", "S26", note="empty when none"), ""),
    Field(
        "compute.interconnectGroupId",
        "2025-11-11",
        by_client("S16", "S17"),
        "2deed8b4-d1e9-42be-a40a-9882201aa9f5",
    ),
    Field(
        "compute.interconnectSubgroupId",
        "2025-11-11",
        by_client("S16", "S17"),
        "2deed8b4-d1e9-42be-a40a-9882201aa9f5",
    ),
    Field("compute.isHostCompatibilityLayerVm", "2020-06-01", observed("S15"), "false", "false"),
    Field(
        "compute.isVmInStandbyPool",
        "2024-07-17",
        inferred("S26", "S27", note="the field is recorded, its version is our choice"),
        "",
    ),
    Field(
        "compute.licenseType",
        "2020-09-01",
        observed("S15", "S25", note="always there, empty when none"),
        "Windows_Server",
    ),
    Field(
        "compute.location",
        "2017-03-01",
        observed("S15", "S18", "S25", note="mixed case is recorded too: never changed"),
        "westeurope",
        Derived.LOCATION,
    ),
    Field("compute.name", "2017-03-01", observed("S15", "S18"), "web-1", Derived.NAME),
    Field(
        "compute.offer",
        "2017-03-01",
        observed("S15", note="empty for custom images"),
        "ubuntu-24_04-lts",
        Derived.OFFER,
    ),
    Field(
        "compute.osProfile.adminUsername", "2020-07-15", observed("S15"), "azureuser", "azureuser"
    ),
    Field(
        "compute.osProfile.computerName",
        "2020-07-15",
        observed("S15"),
        "web-1",
        Derived.COMPUTER_NAME,
    ),
    Field(
        "compute.osProfile.disablePasswordAuthentication",
        "2020-10-01",
        documented("S4"),
        "true",
        Derived.KEYS_ONLY,
    ),
    Field("compute.osType", "2017-03-01", observed("S15", "S18"), "Linux", Derived.OS_TYPE),
    Field(
        "compute.physicalZone",
        "2023-11-15",
        documented("S2", note="missing from a recording of 2025-10 (S26)"),
        "westeurope-az1",
        Derived.PHYSICAL_ZONE,
    ),
    Field(
        "compute.placementGroupId",
        "2017-08-01",
        observed("S15"),
        "f67c14ab-e92c-408c-ae2d-da15866ec79a",
        Derived.PLACEMENT_GROUP,
    ),
    Field("compute.plan.name", "2018-04-02", observed("S15", "S18"), ""),
    Field("compute.plan.product", "2018-04-02", observed("S15", "S18"), ""),
    Field("compute.plan.publisher", "2018-04-02", observed("S15", "S18"), ""),
    Field("compute.platformFaultDomain", "2017-03-01", observed("S15", "S18"), "0", "0"),
    Field("compute.platformSubFaultDomain", "2021-10-01", observed("S25", "S26"), ""),
    Field("compute.platformUpdateDomain", "2017-03-01", observed("S15", "S18"), "0", "0"),
    Field(
        "compute.priority",
        "2020-12-01",
        observed("S15", "S26", note="empty on regular VMs; samples say Regular"),
        "Spot",
    ),
    Field(
        "compute.provider", "2018-10-01", observed("S15"), "Microsoft.Compute", "Microsoft.Compute"
    ),
    Field(
        "compute.publicKeys[].keyData",
        "2018-04-02",
        observed("S13", "S18", note="verbatim, line ends included"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample web",
    ),
    Field(
        "compute.publicKeys[].path",
        "2018-04-02",
        observed("S13", "S18"),
        "/home/azureuser/.ssh/authorized_keys",
        Derived.KEY_PATH,
    ),
    Field("compute.publisher", "2017-03-01", observed("S15"), "canonical", Derived.PUBLISHER),
    Field("compute.resourceGroupName", "2017-08-01", observed("S15", "S18"), "lab", "openimds"),
    Field(
        "compute.resourceId",
        "2019-03-11",
        observed("S15", "S18"),
        "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/lab/providers/"
        "Microsoft.Compute/virtualMachines/web-1",
        Derived.RESOURCE_ID,
    ),
    Field(
        "compute.securityProfile.encryptionAtHost", "2021-11-01", observed("S2"), "false", "false"
    ),
    Field(
        "compute.securityProfile.secureBootEnabled", "2020-06-01", observed("S15"), "false", "false"
    ),
    Field(
        "compute.securityProfile.securityType", "2021-12-13", observed("S2", "S25"), "TrustedLaunch"
    ),
    Field(
        "compute.securityProfile.virtualTpmEnabled", "2020-06-01", observed("S15"), "false", "false"
    ),
    Field("compute.sku", "2017-03-01", observed("S15", "S25"), "server", Derived.SKU),
    Field(
        "compute.subscriptionId",
        "2017-08-01",
        observed("S15", "S18"),
        "8d10da13-8125-4ba9-a717-bf7490507b3d",
        Derived.SUBSCRIPTION,
    ),
    Field(
        "compute.systemFaultDomain",
        "2025-04-07",
        inferred("S27", "S28", note="in no document; its version is our choice"),
        "",
    ),
    Field(
        "compute.tags",
        "2017-08-01",
        observed("S15", note="name:value;name:value, nothing escaped"),
        "env:prod;team:web",
    ),
    Field(
        "compute.tagsList[].name",
        "2019-06-04",
        observed("S18", note="swagger forgets it in 2019-08-15 and 2019-11-01"),
        "env",
    ),
    Field(
        "compute.tagsList[].value",
        "2019-06-04",
        observed("S18", note="swagger forgets it in 2019-08-15 and 2019-11-01"),
        "prod",
    ),
    Field("compute.userData", "2021-01-01", observed("S2", "S15", "S37"), "I2Nsb3VkLWNvbmZpZwo="),
    Field(
        "compute.version",
        "2017-03-01",
        observed("S15", "S18", note="concrete even where the deployment said latest"),
        "24.04.202510010",
        Derived.EXACT_VERSION,
    ),
    Field(
        "compute.virtualMachineScaleSet.id",
        "2021-03-01",
        observed("S2", "S26", note="flexible orchestration only"),
        "",
    ),
    Field(
        "compute.vmId",
        "2017-03-01",
        observed("S15", "S18"),
        "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
        Derived.VM_ID,
    ),
    Field("compute.vmScaleSetName", "2017-12-01", observed("S15"), "aks-nodepool1-vmss"),
    Field(
        "compute.vmSize", "2017-03-01", observed("S15", "S18"), "Standard_D2s_v5", "Standard_D2s_v5"
    ),
    Field("compute.zone", "2017-12-01", observed("S15", "S37"), "1"),
)
