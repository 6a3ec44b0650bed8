"""The one VM that clients find: its identities with ids that are written down here."""

from typing import Any

from msgspec import Struct

TENANT = "72f988bf-0000-4000-8000-000000000001"
_GROUP = "/subscriptions/8d7a2b1c-0000-4000-8000-000000000002/resourceGroups/Lab/providers"
APP = f"{_GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OTHER = f"{_GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/other"


class Ids(Struct, frozen=True):
    """The ids of an identity, and what the claim `xms_mirid` of its tokens ends with."""

    client: str
    principal: str
    mirid: str


SYSTEM_IDS = Ids(
    "5e000000-0000-4000-8000-00000000000a",
    "5e000000-0000-4000-8000-00000000000b",
    "/providers/Microsoft.Compute/virtualMachines/web-1",
)
APP_IDS = Ids(
    "a9900000-0000-4000-8000-00000000000a",
    "a9900000-0000-4000-8000-00000000000b",
    "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app",
)


def a_vm(*user: str, system: bool = False, source: str = "local") -> dict[str, Any]:
    """Return a VM with these identities."""
    known = {"system": SYSTEM_IDS, APP: APP_IDS}
    held = (*(("system",) if system else ()), *user)
    details = {
        name: {"clientId": known[name].client, "principalId": known[name].principal}
        for name in held
        if name in known
    }
    identities = {
        "system": system,
        "user": list(user),
        "details": details,
        "tenantId": TENANT,
        "source": source,
    }
    return {"identities": identities}


BOTH = a_vm(APP, system=True)
ONLY_APP = a_vm(APP)
TWO = a_vm(APP, OTHER)
NONE = a_vm()

NOT_FOUND = "Identity not found"
AMBIGUOUS = (
    "Multiple user assigned identities exist, please specify the clientId / resourceId of the "
    "identity in the token request"
)
THROTTLED = "Temporarily throttled, too many requests"
"""What production's logs show (S29, S30), and what each client has to hand on."""
