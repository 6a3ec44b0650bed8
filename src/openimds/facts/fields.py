"""What a field row is, and every field of the instance document in one tuple.

A path is written from the root of the document; `[]` stands for each element of an array, as in
`network.interface[].macAddress`. Objects and arrays have no rows: they are there because their
leaves are, from the version on that brings the first leaf.
"""

from enum import Enum, StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence
from openimds.facts.redaction import Redaction


class FieldKind(StrEnum):
    """What a leaf is in JSON. Nearly everything is text, numbers and flags included (S2)."""

    TEXT = "string"
    BOOLEAN = "boolean"
    NUMBER = "number"


class Derived(Enum):
    """Defaults that are worked out from the VM's name and from what was said of it."""

    NAME = "name of the VM"
    CLOUD = "azEnvironment of the cloud"
    LOCATION = "region of the cloud"
    VM_ID = "GUID from the name"
    SUBSCRIPTION = "one GUID for everybody who says nothing"
    RESOURCE_ID = "resource id from subscription, group, scale set and name"
    COMPUTER_NAME = "host name from the name"
    KEYS_ONLY = "true on Linux, empty on Windows"
    OS_TYPE = "Linux, or Windows for a Windows publisher"
    PLACEMENT_GROUP = "GUID from the scale set, else empty"
    PHYSICAL_ZONE = "location and zone, else empty"
    PUBLISHER = "publisher of the image"
    OFFER = "offer of the image"
    SKU = "sku of the image"
    IMAGE_VERSION = "latest, unless the image is custom"
    EXACT_VERSION = "concrete version of the image"
    OS_DISK_SIZE = "30 on Linux, 127 on Windows"
    OS_DISK_NAME = "disk name from the VM's name"
    OS_DISK_ID = "resource id of the OS disk"
    DATA_DISK_NAME = "disk name from the VM's name and the lun"
    DATA_DISK_ID = "resource id of the data disk"
    POSITION = "position in the array"
    KEY_PATH = "authorized_keys of the admin user"
    MAC = "hardware address from the name and the position"
    PRIVATE_ADDRESS = "address in 10.0.0.0/8 from the name and the position"
    SUBNET_ADDRESS = "the /24 around the first private address"


class Field(Struct, frozen=True):
    """One leaf of the document.

    `default` is what a VM has that says nothing: a literal, or a rule. `sample` is a value as real
    documents have it.
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
