"""What tells whose VM it was: every value of the documents, as rows.

What has no row is replaced too, so that a field that Azure adds tomorrow gives nothing away. What
is kept is what thousands of VMs share: sizes, regions, images of the marketplace, settings.
"""

from enum import StrEnum

from openimds.interop.transcript.location import ATTESTED, BALANCER, EVENTS, INSTANCE, VERSIONS


class Redaction(StrEnum):
    """What a value is, and by that what its stand-in looks like."""

    KEPT = "kept"
    NAME = "name"
    GUID = "GUID"
    RESOURCE = "resource id"
    """A path whose segments are words of Azure's, GUIDs and names."""
    URL = "URL"
    MAC = "hardware address"
    PRIVATE = "private address"
    PUBLIC = "public address"
    SUBNET = "address of a subnet"
    KEY = "public key"
    HOME = "path below a home"
    BASE64 = "base64"
    TAGS = "tags"
    TAG = "name of a tag"
    TAG_VALUE = "value of a tag"
    EVENT_RESOURCE = "name of a VM, with what stands before it"
    SIGNATURE = "signature"
    OTHER = "anything else"


_IN_COMPUTE: dict[Redaction, str] = {
    Redaction.KEPT: """
        additionalCapabilities.hibernationEnabled azEnvironment evictionPolicy extendedLocation.name
        extendedLocation.type isHostCompatibilityLayerVm isVmInStandbyPool licenseType location
        offer osProfile.disablePasswordAuthentication osType physicalZone plan.name plan.product
        plan.publisher platformFaultDomain platformSubFaultDomain platformUpdateDomain priority
        provider publisher securityProfile.encryptionAtHost securityProfile.secureBootEnabled
        securityProfile.securityType securityProfile.virtualTpmEnabled sku systemFaultDomain version
        vmSize zone storageProfile.imageReference.exactVersion storageProfile.imageReference.offer
        storageProfile.imageReference.publisher storageProfile.imageReference.sku
        storageProfile.imageReference.version storageProfile.osDisk.caching
        storageProfile.osDisk.createOption storageProfile.osDisk.diffDiskSettings.option
        storageProfile.osDisk.diskSizeGB storageProfile.osDisk.encryptionSettings.enabled
        storageProfile.osDisk.managedDisk.storageAccountType storageProfile.osDisk.osType
        storageProfile.osDisk.writeAcceleratorEnabled storageProfile.resourceDisk.size
        storageProfile.dataDisks[].bytesPerSecondThrottle storageProfile.dataDisks[].caching
        storageProfile.dataDisks[].createOption storageProfile.dataDisks[].diskCapacityBytes
        storageProfile.dataDisks[].diskSizeGB storageProfile.dataDisks[].isSharedDisk
        storageProfile.dataDisks[].isUltraDisk storageProfile.dataDisks[].lun
        storageProfile.dataDisks[].managedDisk.storageAccountType
        storageProfile.dataDisks[].opsPerSecondThrottle
        storageProfile.dataDisks[].writeAcceleratorEnabled
    """,
    Redaction.NAME: """
        name osProfile.adminUsername osProfile.computerName resourceGroupName vmScaleSetName
        storageProfile.osDisk.name storageProfile.dataDisks[].name
    """,
    Redaction.GUID: """
        interconnectGroupId interconnectSubgroupId placementGroupId subscriptionId vmId
    """,
    Redaction.RESOURCE: """
        host.id hostGroup.id resourceId virtualMachineScaleSet.id storageProfile.imageReference.id
        storageProfile.imageReference.communityGalleryImageId
        storageProfile.imageReference.sharedGalleryImageId storageProfile.osDisk.managedDisk.id
        storageProfile.osDisk.encryptionSettings.diskEncryptionKey.sourceVault.id
        storageProfile.osDisk.encryptionSettings.keyEncryptionKey.sourceVault.id
        storageProfile.dataDisks[].managedDisk.id
    """,
    Redaction.URL: """
        storageProfile.osDisk.encryptionSettings.diskEncryptionKey.secretUrl
        storageProfile.osDisk.encryptionSettings.keyEncryptionKey.keyUrl
        storageProfile.osDisk.image.uri storageProfile.osDisk.vhd.uri
        storageProfile.dataDisks[].image.uri storageProfile.dataDisks[].vhd.uri
    """,
    Redaction.BASE64: "customData userData",
    Redaction.KEY: "publicKeys[].keyData",
    Redaction.HOME: "publicKeys[].path",
    Redaction.TAGS: "tags",
    Redaction.TAG: "tagsList[].name",
    Redaction.TAG_VALUE: "tagsList[].value",
}
_IN_INTERFACE: dict[Redaction, str] = {
    Redaction.KEPT: "ipv4.ipAddressBlock[].prefix "
    "ipv4.subnet[].prefix ipv6.ipAddressBlock[].prefix",
    Redaction.MAC: "macAddress",
    Redaction.OTHER: "interfaceCompartmentID",
    Redaction.PRIVATE: """
        ipv4.ipAddress[].privateIpAddress ipv4.ipAddressBlock[].address
        ipv4.subnet[].dnsservers[].ipaddress ipv6.ipAddress[].privateIpAddress
        ipv6.ipAddressBlock[].address
    """,
    Redaction.PUBLIC: "ipv4.ipAddress[].publicIpAddress",
    Redaction.SUBNET: "ipv4.subnet[].address",
}
_IN_BALANCER: dict[Redaction, str] = {
    Redaction.KEPT: "inboundRules[].protocol "
    "inboundRules[].frontendPort inboundRules[].backendPort",
    Redaction.PUBLIC: """
        publicIpAddresses[].frontendIpAddress inboundRules[].frontendIpAddress
        outboundRules[].frontendIpAddress
    """,
    Redaction.PRIVATE: """
        publicIpAddresses[].privateIpAddress inboundRules[].privateIpAddress
        outboundRules[].privateIpAddress
    """,
}
_IN_EVENTS: dict[Redaction, str] = {
    Redaction.KEPT: """
        DocumentIncarnation Events[].EventType Events[].ResourceType Events[].EventStatus
        Events[].NotBefore Events[].EventSource Events[].DurationInSeconds
    """,
    Redaction.GUID: "Events[].EventId",
    Redaction.EVENT_RESOURCE: "Events[].Resources[]",
}
_IN_SIGNED: dict[Redaction, str] = {
    Redaction.KEPT: """
        licenseType nonce plan.name plan.product plan.publisher sku timeStamp.createdOn
        timeStamp.expiresOn
    """,
    Redaction.GUID: "subscriptionId vmId",
}


def _paths(rows: dict[Redaction, str], above: str = "") -> dict[str, Redaction]:
    return {above + path: sort for sort, paths in rows.items() for path in paths.split()}


_IN_INSTANCE = {
    **_paths(_IN_COMPUTE, "compute."),
    **_paths(_IN_INTERFACE, "network.interface[]."),
    **_paths({Redaction.KEPT: "hasCustomData ppsType"}, "extended.compute."),
}
REDACTIONS: dict[str, dict[str, Redaction]] = {
    INSTANCE: _IN_INSTANCE,
    BALANCER: _paths(_IN_BALANCER, "loadbalancer."),
    EVENTS: _paths(_IN_EVENTS),
    ATTESTED: {
        **_paths({Redaction.KEPT: "encoding", Redaction.SIGNATURE: "signature"}),
        **_paths(_IN_SIGNED, "signed."),
    },
    VERSIONS: {"apiVersions[]": Redaction.KEPT},
}
"""By document, what stands at each path."""

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
"""Headers whose values say nothing of a VM."""

_WORDS = """
    applications availabilitysets backendaddresspools communitygalleries dedicatedhostgroups
    dedicatedhosts disks galleries hostgroups hosts images keys keyvaults loadbalancers
    microsoft.compute microsoft.keyvault microsoft.managedidentity microsoft.network
    microsoft.storage networkinterfaces providers resourcegroups secrets sharedgalleries snapshots
    storageaccounts subscriptions userassignedidentities vaults versions
    virtualmachines virtualmachinescalesets virtualnetworks
"""
WORDS = frozenset(_WORDS.split())
"""Segments of resource ids that are Azure's own, in lower case."""
