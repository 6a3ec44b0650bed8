"""A VM and a fleet of them, as values."""

from msgspec import Struct, field

from openimds.facts.clouds import PUBLIC


class IdentityDetail(Struct, frozen=True, omit_defaults=True):
    """What was said of one identity; empty: its ids are worked out, its source is the VM's."""

    client_id: str = ""
    principal_id: str = ""
    source: str = ""


class Identities(Struct, frozen=True, omit_defaults=True):
    """The managed identities of a VM; `user` holds resource ids.

    `source` says where their tokens come from, one of `model.identities.SOURCES`; `details` has
    what was said of single ones, by resource id or `system`.
    """

    system: bool = False
    user: tuple[str, ...] = ()
    tenant_id: str = ""
    source: str = ""
    details: dict[str, IdentityDetail] = field(default_factory=dict)


class Reach(Struct, frozen=True, omit_defaults=True):
    """Who is this VM: source addresses, or listeners of its own.

    No `address` at all (None) means the private addresses of the VM. `interface` is where its
    packets come into the host, `mac` the hardware address that they come from; without one it is
    that of the first interface in the document.
    """

    address: tuple[str, ...] | None = None
    listen: tuple[str, ...] = ()
    interface: str = ""
    mac: str = ""


class Vm(Struct, frozen=True, omit_defaults=True):
    """One VM: what was said of it.

    `document` is the sparse newest instance document with the members that were said; `complete`
    in `model.defaults` makes the whole of it.
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


class Fleet(Struct, frozen=True):
    """All VMs by name, in the order of the file, and what it says of events and of faults."""

    vms: dict[str, Vm]
    events: object = None
    faults: object = None
