"""The values: a VM, its identities, how callers reach it, and a fleet of VMs.

The keys of a fleet file are the names of these members in camel case; `fleet_file` converts from
them and `serialize` to them.
"""

from typing import Any

from msgspec import Struct, field

from openimds.facts.clouds import PUBLIC
from openimds.facts.kinds import AZURE_LOCAL, VM


class IdentityDetail(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Overrides for one identity; an empty member means a derived id, or the VM's source.

    `roles`, `groups` and `claims` (JSON values by name) are in every token of the identity.
    """

    client_id: str = ""
    principal_id: str = ""
    source: str = ""
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    claims: dict[str, Any] = field(default_factory=dict)


class Identities(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The managed identities of a VM; `user` holds resource ids.

    `source` is the origin of their tokens, one of `vm.identities.SOURCES`; `details` has overrides
    for single identities, by resource id or `system`.
    """

    system: bool = False
    user: tuple[str, ...] = ()
    tenant_id: str = ""
    source: str = ""
    details: dict[str, IdentityDetail] = field(default_factory=dict)


class Reach(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The source addresses that identify a VM, or listeners of its own.

    No `address` at all (None) means the private addresses of the VM. `interface` is the host's
    interface for its packets, `mac` their hardware address; without `mac` it is that of the first
    interface in the document.
    """

    address: tuple[str, ...] | None = None
    listen: tuple[str, ...] = ()
    interface: str = ""
    mac: str = ""


class Vm(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One VM, with the members that its author wrote.

    `document` is the sparse newest instance document; `vm.defaults.complete` adds the rest. With
    `varied_network` the default hardware addresses and subnets differ in kind from VM to VM. `kind`
    is a key of `facts.kinds`; `reprovision_data` the XML for a VM that leaves its pool. In a fleet
    of hosts `host` names the one that serves it, and `next_host` the one that it moves to.
    """

    name: str
    cloud: str = PUBLIC
    document: dict[str, object] = field(default_factory=dict)
    identities: Identities = Identities()
    availability_set: str = ""
    load_balancer: dict[str, object] | None = None
    attested: dict[str, object] | None = None
    classic: bool = False
    reach: Reach = Reach()
    varied_network: bool = False
    kind: str = VM
    reprovision_data: str = ""
    host: str = ""
    next_host: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it is a VM of Azure Local."""
        return self.kind == AZURE_LOCAL


class Fleet(Struct, frozen=True):
    """The VMs of a fleet file in order, and its unread events and faults."""

    vms: dict[str, Vm]
    events: object = None
    faults: object = None
