"""The redaction of values: the kinds of placeholders in a transcript that is shared.

A value without a row is replaced too, so that a field that Azure adds later gives nothing away.
Values that thousands of VMs share are kept: sizes, regions, marketplace images, settings.
"""

from enum import StrEnum

from msgspec import Struct

from openimds.facts.evidence import Evidence

MASKED = "***"
"""Stands for a secret in records and logs."""
SECRET_HEADERS = frozenset(
    {"authorization", "cookie", "proxy-authorization", "secret", "x-identity-header"}
)
"""Headers that prove an identity, in lower case."""
SECRET_PARAMETERS = (
    "access_token",
    "assertion",
    "client_assertion",
    "client_secret",
    "code",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "token",
)
"""Parameters of a query or a form that prove an identity."""
SECRET_MEMBERS = (
    "compute.customData",
    "compute.publicKeys",
    "compute.userData",
    "identities",
    "reach",
    "reprovisionData",
)
"""Members of a VM that only the role `admin` reads or writes."""


class Redaction(StrEnum):
    """The kind of a value, which decides the form of its placeholder."""

    KEPT = "kept"
    NAME = "name"
    GUID = "GUID"
    RESOURCE = "resource id"
    """A path whose segments are Azure's own words, GUIDs and names."""
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
    EVENT_RESOURCE = "name of a VM, with or without the underscore of old versions"
    SIGNATURE = "signature"
    OTHER = "anything else"


# Rows of fields name their redaction by these.
KEPT = Redaction.KEPT
NAME = Redaction.NAME
GUID = Redaction.GUID
RESOURCE = Redaction.RESOURCE
URL = Redaction.URL
MAC = Redaction.MAC
PRIVATE = Redaction.PRIVATE
PUBLIC = Redaction.PUBLIC
SUBNET = Redaction.SUBNET
KEY = Redaction.KEY
HOME = Redaction.HOME
BASE64 = Redaction.BASE64
TAGS = Redaction.TAGS
TAG = Redaction.TAG
TAG_VALUE = Redaction.TAG_VALUE
OTHER = Redaction.OTHER


class DocumentMember(Struct, frozen=True):
    """A leaf of a document without field rows; `path` is written as in `Field`."""

    path: str
    redaction: Redaction
    evidence: Evidence
