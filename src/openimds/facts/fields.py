"""The row types of the instance document: its fields and their earlier names.

A path is written from the root of the document; `[]` stands for each element of an array, as in
`network.interface[].macAddress`. Objects and arrays have no rows: a version has them if it has one
of their leaves.
"""

from enum import Enum, StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence
from openimds.facts.redaction import Redaction


class FieldKind(StrEnum):
    """The JSON type of a leaf. Nearly all are text, numbers and flags included (S2)."""

    TEXT = "string"
    BOOLEAN = "boolean"
    NUMBER = "number"


class Derived(Enum):
    """Defaults that are computed from the VM's name and its other values."""

    NAME = "name of the VM"
    CLOUD = "azEnvironment of the cloud"
    LOCATION = "region of the cloud"
    VM_ID = "GUID from the name"
    SUBSCRIPTION = "one GUID for all VMs without a subscription"
    RESOURCE_ID = "resource id from subscription, group, scale set and name"
    COMPUTER_NAME = "host name from the name"
    KEYS_ONLY = "true on Linux, empty on Windows and on a specialized disk"
    ADMIN = "azureuser, empty on a specialized disk"
    KEY = "SSH key from the name; nobody has its private half"
    HAS_KEY = "one if disablePasswordAuthentication is true"
    TRUSTED = "true under Trusted Launch, as with a default image"
    SECURITY_TYPE = "TrustedLaunch under Trusted Launch, as with a default image"
    LICENSE = "Windows_Client for a client image of Windows"
    REFERENCE_VERSION = "compute.version for a marketplace image"
    TEMPORARY_DISK = "temporary disk of the size, 0 without or where it is not known"
    OS_TYPE = "Linux, or Windows for a Windows publisher"
    PLACEMENT_GROUP = "GUID from the scale set, else empty"
    PHYSICAL_ZONE = "location and zone, else empty"
    PUBLISHER = "publisher of the image"
    OFFER = "offer of the image"
    SKU = "sku of the image"
    IMAGE_VERSION = "latest, unless the image is custom"
    EXACT_VERSION = "concrete version of the image, or the one in its gallery id"
    OS_DISK_SIZE = "30 on Linux, 127 on Windows"
    OS_DISK_NAME = "disk name from the VM's name"
    OS_DISK_ID = "resource id of the OS disk"
    DATA_DISK_NAME = "disk name from the VM's name and the lun"
    DATA_DISK_ID = "resource id of the data disk"
    POSITION = "position in the array"
    KEY_PATH = "authorized_keys of the admin user"
    MAC = "hardware address from the name and the position"
    PRIVATE_ADDRESS = "address in 10.0.0.0/8 from the name and the position"
    SUBNET_ADDRESS = "the subnet around the first private address"
    SUBNET_PREFIX = "24, another one in a varied network"


class Field(Struct, frozen=True):
    """One leaf of the document.

    `since` is the first api-version that has the field, `until` the first one that lacks it again.
    `redaction` is its placeholder in a shared transcript, `sample` a value from real documents.
    `default` is the value of a VM that does not set the field: a literal, or a rule.
    """

    path: str
    since: str
    redaction: Redaction
    evidence: Evidence
    sample: str
    default: str | bool | Derived = ""
    until: str = ""
    kind: FieldKind = FieldKind.TEXT
    extended: bool = False
    """Only present when the request says `extended=true`."""


class Rename(Struct, frozen=True):
    """A node that had another name in the versions before `before`."""

    path: str
    before: str
    name: str
    evidence: Evidence
