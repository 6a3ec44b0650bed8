"""The managed identities of a VM with the ids that a directory gives them.

Missing ids are derived by a hash, so that the same VM and the same user-assigned identity have the
same ids on every machine. The system-assigned identity of a uniform scale set is the set's: its
instances share the ids, as on Azure.
"""

from functools import lru_cache
from hashlib import sha256
from uuid import UUID

from msgspec import Struct

from openimds.facts.clouds import PUBLIC
from openimds.facts.faults import FORGERIES
from openimds.vm.claims import own_claims
from openimds.vm.defaults import text_at
from openimds.vm.types import IdentityDetail, Vm

SYSTEM = "system"
"""The key of the system-assigned identity among the details."""
LOCAL, ENTRA, FORGE = "local", "entra", "forge:"
SOURCES = (LOCAL, ENTRA, *(FORGE + name for name in FORGERIES))
"""The origins of tokens: the server's own signer, Entra itself, or a forgery."""

_MOST_KNOWN = 1024
"""The derived ids that are remembered: many VMs share a tenant and user-assigned identities."""


class Principal(Struct, frozen=True):
    """One identity. `mirid` is the resource that the claim `xms_mirid` names.

    `carrier` is the resource id of the VM (or of its scale set) for a user-assigned identity, and
    empty for the system-assigned one, which is its own. `own_claims` are the claims that the VM's
    author gives it, as a JSON object, or empty.
    """

    client_id: str
    object_id: str
    tenant_id: str
    mirid: str
    carrier: str = ""
    source: str = LOCAL
    own_claims: bytes = b""

    @property
    def is_system(self) -> bool:
        """Tell whether this is the system-assigned identity."""
        return not self.carrier


def needs_entra(vm: Vm) -> bool:
    """Tell whether an identity of a VM has its tokens from Entra itself."""
    identities = vm.identities
    details = identities.details.values()
    return ENTRA in {identities.source, *(identity.source for identity in details)}


def principals(vm: Vm) -> tuple[Principal, ...]:
    """Return the identities of a VM, the system-assigned one first."""
    identities = vm.identities
    carrier = _carrier(text_at(vm, "compute.resourceId"))
    tenant = tenant_of(vm)
    details = {name.lower(): detail for name, detail in identities.details.items()}

    def principal(key: str, seed: str, resource: str, carrier: str = "") -> Principal:
        detail = details.get(key) or IdentityDetail()
        object_id = (detail.principal_id or _guid("principal", seed)).lower()
        return Principal(
            (detail.client_id or _guid("client", seed)).lower(),
            object_id,
            tenant,
            # Claims write resourcegroups in lower case where resource ids do not (S33).
            resource.replace("/resourceGroups/", "/resourcegroups/"),
            carrier.replace("/resourceGroups/", "/resourcegroups/"),
            detail.source or identities.source or LOCAL,
            own_claims(detail, object_id, vm.cloud),
        )

    assigned = []
    if identities.system:
        is_of_set = "/virtualmachinescalesets/" in carrier.lower()
        seed = carrier.lower() if is_of_set else vm.name
        assigned.append(principal(SYSTEM, f"{SYSTEM}\0{seed}", carrier))
    for resource in user_ids(vm):
        key = resource.lower()
        assigned.append(principal(key, f"user\0{key}", resource, carrier))
    return tuple(assigned)


def user_ids(vm: Vm) -> tuple[str, ...]:
    """Return the resource ids of the user-assigned identities, each once.

    They have no letter case: the first spelling stands for all.
    """
    first: dict[str, str] = {}
    for resource in vm.identities.user:
        first.setdefault(resource.lower(), resource)
    return tuple(first.values())


def tenant_of(vm: Vm) -> str:
    """Return the tenant of a VM."""
    return vm.identities.tenant_id.lower() or default_tenant(vm.cloud)


def default_tenant(cloud: str = PUBLIC) -> str:
    """Return the default tenant of VMs in a cloud; no two clouds share it."""
    return _guid("tenant", *([] if cloud == PUBLIC else [cloud]))


def _carrier(resource: str) -> str:
    """Return the resource that has the identities: the VM, or its uniform scale set."""
    head, middle, _ = resource.partition("/virtualMachines/")
    is_instance = bool(middle) and "/virtualmachinescalesets/" in head.lower()
    return head if is_instance else resource


@lru_cache(_MOST_KNOWN)
def _guid(*parts: str) -> str:
    seed = sha256("\0".join(("openimds", "identity", *parts)).encode()).digest()
    return str(UUID(bytes=seed[:16], version=4))
