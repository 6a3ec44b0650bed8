"""The field rows of `compute.storageProfile`."""

from openimds.facts.evidence import documented, observed
from openimds.facts.fields import Derived, Field
from openimds.facts.redaction import KEPT, NAME, RESOURCE, URL

_PROFILE = "compute.storageProfile."
_IMAGE = _PROFILE + "imageReference."
_OS = _PROFILE + "osDisk."
_DATA = _PROFILE + "dataDisks[]."
_DISK_ID = (
    "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/lab/providers/"
    "Microsoft.Compute/disks/"
)
_REAL = observed("S15", "S18")
_LISTED = documented("S4")
_UNENCRYPTED = observed("S2", "S26", note="present with empty leaves when not encrypted")
_ULTRA = documented("S2", note="filled for Ultra disks only")
_GALLERY = documented("S2", "S4")

STORAGE: tuple[Field, ...] = (
    Field(_IMAGE + "communityGalleryImageId", "2023-07-01", RESOURCE, _GALLERY, ""),
    Field(
        _IMAGE + "exactVersion",
        "2023-07-01",
        KEPT,
        observed("S26", "S62", note="of a marketplace image; the value of compute.version"),
        "24.04.202510010",
        Derived.REFERENCE_VERSION,
    ),
    Field(
        _IMAGE + "id",
        "2019-06-01",
        RESOURCE,
        observed("S15", note="empty for a marketplace image"),
        "",
    ),
    Field(_IMAGE + "offer", "2019-06-01", KEPT, _REAL, "ubuntu-24_04-lts", Derived.OFFER),
    Field(_IMAGE + "publisher", "2019-06-01", KEPT, _REAL, "canonical", Derived.PUBLISHER),
    Field(_IMAGE + "sharedGalleryImageId", "2023-07-01", RESOURCE, _GALLERY, ""),
    Field(_IMAGE + "sku", "2019-06-01", KEPT, _REAL, "server", Derived.SKU),
    Field(_IMAGE + "version", "2019-06-01", KEPT, _REAL, "latest", Derived.IMAGE_VERSION),
    Field(_OS + "caching", "2019-06-01", KEPT, _REAL, "ReadWrite", "ReadWrite"),
    Field(_OS + "createOption", "2019-06-01", KEPT, _REAL, "FromImage", "FromImage"),
    Field(_OS + "diffDiskSettings.option", "2019-08-01", KEPT, _REAL, "Local"),
    Field(_OS + "diskSizeGB", "2019-06-01", KEPT, _REAL, "30", Derived.OS_DISK_SIZE),
    Field(
        _OS + "encryptionSettings.diskEncryptionKey.secretUrl", "2021-11-01", URL, _UNENCRYPTED, ""
    ),
    Field(
        _OS + "encryptionSettings.diskEncryptionKey.sourceVault.id",
        "2021-11-01",
        RESOURCE,
        _UNENCRYPTED,
        "",
    ),
    Field(_OS + "encryptionSettings.enabled", "2019-06-01", KEPT, _REAL, "false", "false"),
    Field(_OS + "encryptionSettings.keyEncryptionKey.keyUrl", "2021-11-01", URL, _UNENCRYPTED, ""),
    Field(
        _OS + "encryptionSettings.keyEncryptionKey.sourceVault.id",
        "2021-11-01",
        RESOURCE,
        _UNENCRYPTED,
        "",
    ),
    Field(_OS + "image.uri", "2019-06-01", URL, _REAL, ""),
    Field(
        _OS + "managedDisk.id",
        "2019-06-01",
        RESOURCE,
        observed("S15", "S18", "S62", note="with the resource group in upper case in some"),
        _DISK_ID + "os",
        Derived.OS_DISK_ID,
    ),
    Field(
        _OS + "managedDisk.storageAccountType",
        "2019-06-01",
        KEPT,
        _REAL,
        "Premium_LRS",
        "Premium_LRS",
    ),
    Field(
        _OS + "name",
        "2019-06-01",
        NAME,
        observed("S15", "S18", "S62", note="also VM_disk1_ and 32 hexadecimal digits"),
        "web-1_OsDisk_1",
        Derived.OS_DISK_NAME,
    ),
    Field(_OS + "osType", "2019-06-01", KEPT, _REAL, "Linux", Derived.OS_TYPE),
    Field(_OS + "vhd.uri", "2019-06-01", URL, _REAL, ""),
    Field(_OS + "writeAcceleratorEnabled", "2019-06-01", KEPT, _REAL, "false", "false"),
    Field(_DATA + "bytesPerSecondThrottle", "2021-05-01", KEPT, _ULTRA, "979202048"),
    Field(_DATA + "caching", "2019-06-01", KEPT, _LISTED, "None", "None"),
    Field(_DATA + "createOption", "2019-06-01", KEPT, _LISTED, "Empty", "Empty"),
    Field(_DATA + "diskCapacityBytes", "2021-05-01", KEPT, _ULTRA, "274877906944"),
    Field(_DATA + "diskSizeGB", "2019-06-01", KEPT, _LISTED, "1024", "1024"),
    Field(_DATA + "image.uri", "2019-06-01", URL, _LISTED, ""),
    Field(_DATA + "isSharedDisk", "2021-05-01", KEPT, _ULTRA, "false"),
    Field(_DATA + "isUltraDisk", "2021-05-01", KEPT, documented("S2"), "false", "false"),
    Field(_DATA + "lun", "2019-06-01", KEPT, _LISTED, "0", Derived.POSITION),
    Field(
        _DATA + "managedDisk.id",
        "2019-06-01",
        RESOURCE,
        _LISTED,
        _DISK_ID + "data",
        Derived.DATA_DISK_ID,
    ),
    Field(
        _DATA + "managedDisk.storageAccountType",
        "2019-06-01",
        KEPT,
        _LISTED,
        "Premium_LRS",
        "Premium_LRS",
    ),
    Field(_DATA + "name", "2019-06-01", NAME, _LISTED, "web-1_DataDisk_0", Derived.DATA_DISK_NAME),
    Field(_DATA + "opsPerSecondThrottle", "2021-05-01", KEPT, _ULTRA, "65280"),
    Field(_DATA + "vhd.uri", "2019-06-01", URL, _LISTED, ""),
    Field(_DATA + "writeAcceleratorEnabled", "2019-06-01", KEPT, _LISTED, "false", "false"),
    Field(
        _PROFILE + "resourceDisk.size",
        "2021-02-01",
        KEPT,
        observed(
            "S15",
            "S25",
            "S26",
            "S62",
            note="documented in kB, recorded in MiB; 0 without such a disk",
        ),
        "14336",
        Derived.TEMPORARY_DISK,
    ),
)
