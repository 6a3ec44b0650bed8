"""The VM of the tests of clients, with fixed ids of its identities."""

from typing import Any

import jwt
from msgspec import Struct

TENANT = "72f988bf-0000-4000-8000-000000000001"
_GROUP = "/subscriptions/8d7a2b1c-0000-4000-8000-000000000002/resourceGroups/Lab/providers"
APP = f"{_GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/app"
OTHER = f"{_GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/other"


class Ids(Struct, frozen=True):
    """The ids of an identity, and the end of the claim `xms_mirid` of its tokens."""

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
    names = (*(("system",) if system else ()), *user)
    details = {
        name: {"clientId": known[name].client, "principalId": known[name].principal}
        for name in names
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

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ann"
DESCRIBED: dict[str, Any] = {
    "compute": {
        "azEnvironment": "AzurePublicCloud",
        "location": "westeurope",
        "name": "web-1",
        "osProfile": {
            "adminUsername": "ann",
            "computerName": "web-one",
            "disablePasswordAuthentication": "true",
        },
        "osType": "Linux",
        "platformFaultDomain": "36",
        "publicKeys": [{"keyData": KEY, "path": "/home/ann/.ssh/authorized_keys"}],
        "resourceGroupName": "lab",
        "sku": "22_04-lts-gen2",
        "subscriptionId": "8d7a2b1c-0000-4000-8000-000000000002",
        "tags": {"env": "prod", "team": "web"},
        "userData": "I2Nsb3VkLWNvbmZpZwo=",
        "version": "22.04.202510010",
        "vmId": "6277b885-20b1-43ba-81a2-ee4e94e7c0af",
        "vmScaleSetName": "front",
        "vmSize": "Standard_D2s_v5",
        "zone": "2",
    },
    "network": {
        "interface": [
            {
                "macAddress": "000D3A112233",
                "ipv4": {
                    "ipAddress": [
                        {"privateIpAddress": "10.0.0.4", "publicIpAddress": "20.1.2.3"},
                        {"privateIpAddress": "10.0.0.5"},
                    ],
                    "subnet": [{"address": "10.0.0.0", "prefix": "26"}],
                },
            }
        ]
    },
}
"""A VM with many properties, for clients that detect where they run."""

VAULT = "https://vault.azure.net"
UNKNOWN_ID = "00000000-dead-4000-8000-000000000000"


def check_token(result: dict[str, Any], ids: Ids, resource: str = VAULT) -> None:
    """Check a token against its identity, and the expiry that the client returned."""
    claims = jwt.decode(result["token"], options={"verify_signature": False})
    expected = (resource, TENANT, ids.client, ids.principal, ids.principal)
    assert tuple(claims[name] for name in ("aud", "tid", "appid", "oid", "sub")) == expected
    assert claims["xms_mirid"].endswith(ids.mirid)
    assert abs(result["expires_s"] - claims["exp"]) < 60


NOT_FOUND = "Identity not found"
AMBIGUOUS = (
    "Multiple user assigned identities exist, please specify the clientId / resourceId of the "
    "identity in the token request"
)
THROTTLED = "Temporarily throttled, too many requests"
"""The messages of production (S29, S30), which each client has to pass on."""
REASONS = {NOT_FOUND: "identity_not_found", AMBIGUOUS: "identity_ambiguous"}
"""The reason by which the server counts each message."""
UNKNOWN_RESOURCE = "AADSTS500011: The resource principal named nonsense was not found in the tenant"
"""Entra's message about the resource `nonsense`."""
