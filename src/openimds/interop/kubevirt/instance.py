"""A VirtualMachineInstance as KubeVirt's API has it, reduced to the members that matter here.

The shapes are those of kubevirt.io/v1 (staging/src/kubevirt.io/api/core/v1/types.go). After a live
migration KubeVirt sets status.nodeName and the label kubevirt.io/nodeName to the new node in one
update, once the guest runs there, and empties status.interfaces until that node reports them.

Who may make an instance writes its owners and the UUID of its firmware as free text; its namespace,
name, uid and time are those of the API.
"""

from ipaddress import ip_address
from typing import Any
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, Struct, UnsetType

from openimds.errors import Error

ENDED = frozenset({"Succeeded", "Failed"})
"""The phases after which the pod's guest does not run again."""


_OWNED = UUID("0d5b5a1e-6b0c-4c86-9a3f-3d6f5b0f6c4e")
"""The namespace of the UUIDs (version 5) of instances that a VirtualMachine owns; chosen here."""


class InstanceError(Error):
    """An object is no VirtualMachineInstance that can be read."""


class Card(Struct, frozen=True):
    """A network card: its hardware address, and an address of each family, or empty."""

    mac: str
    ipv4: str = ""
    ipv6: str = ""


class Instance(Struct, frozen=True):
    """An instance.

    `pods` are the uids of its pods on its node. `vm_id` stays over restarts of a VirtualMachine:
    it is made of the instance's namespace and name and its owner's uid, so that no instance has
    that of another by naming its owner. Without an owner it is the instance's uid. `is_wired` tells
    whether its node has reported the card whose packets pass the pod's `lo`. `firmware_uuid` is
    what the guest's firmware shows, free text, and `created` the time in RFC 3339.
    """

    namespace: str
    name: str
    uid: str
    node: str
    phase: str
    vm_id: str
    pods: tuple[str, ...] = ()
    cards: tuple[Card, ...] = ()
    is_wired: bool = True
    annotations: dict[str, str] = {}
    firmware_uuid: str = ""
    created: str = ""

    @property
    def vm_name(self) -> str:
        """The name of its VM. A namespace has no dot: no two instances share it."""
        return f"{self.namespace}.{self.name}"

    def runs_on(self, node: str) -> bool:
        """Tell whether its guest runs on a node, or will, as far as KubeVirt knows."""
        return self.node == node and self.phase not in ENDED


class _Owner(Struct):
    uid: str
    kind: str = ""


class _InstanceMetadata(Struct, rename="camel"):
    name: str
    namespace: str
    uid: str
    annotations: dict[str, str] | None = None
    owner_references: list[_Owner] | None = None
    creation_timestamp: str | None = None


class _Firmware(Struct):
    uuid: str = ""


class _SpecCard(Struct, rename="camel"):
    name: str
    masquerade: Any | UnsetType = UNSET


class _Devices(Struct):
    interfaces: list[_SpecCard] | None = None


class _Domain(Struct):
    firmware: _Firmware | None = None
    devices: _Devices | None = None


class _Spec(Struct):
    domain: _Domain


class _StatusCard(Struct, rename="camel"):
    name: str = ""
    mac: str = ""
    ip_address: str = ""
    ip_addresses: list[str] | None = None


class _InstanceStatus(Struct, rename="camel"):
    node_name: str = ""
    phase: str = ""
    active_pods: dict[str, str] | None = None
    interfaces: list[_StatusCard] | None = None


class _Vmi(Struct):
    metadata: _InstanceMetadata
    spec: _Spec
    status: _InstanceStatus | None = None


def read_instance(value: object) -> Instance:
    """Return the instance of an object of the API.

    Raises:
        InstanceError: a member that matters is missing or has another type.
    """
    try:
        vmi = msgspec.convert(value, _Vmi)
    except msgspec.ValidationError as error:
        raise InstanceError(f"an object is no VirtualMachineInstance: {error}") from None
    meta, domain, status = vmi.metadata, vmi.spec.domain, vmi.status or _InstanceStatus()
    specified = (domain.devices and domain.devices.interfaces) or []
    # An entry without a name is of the guest's agent: a card that the guest made for itself.
    reported = {card.name: card for card in status.interfaces or [] if card.name and card.mac}
    cards = tuple(_card(reported[card.name]) for card in specified if card.name in reported)
    wired = [card.name in reported for card in specified if card.masquerade is not UNSET]
    owners = [owner.uid for owner in meta.owner_references or [] if owner.kind == "VirtualMachine"]
    vm_id = meta.uid.lower()
    if owners:
        vm_id = str(uuid5(_OWNED, f"{meta.namespace}/{meta.name}/{owners[0].lower()}"))
    return Instance(
        meta.namespace,
        meta.name,
        meta.uid,
        status.node_name,
        status.phase,
        vm_id,
        tuple(
            sorted(
                pod for pod, node in (status.active_pods or {}).items() if node == status.node_name
            )
        ),
        cards,
        all(wired),
        meta.annotations or {},
        domain.firmware.uuid if domain.firmware else "",
        meta.creation_timestamp or "",
    )


def _card(reported: _StatusCard) -> Card:
    """Return a card with its first address of each family.

    Azure lists more addresses as secondary ones, which cloud-init would write into the guest.
    """
    found: dict[int, str] = {}
    for text in (reported.ip_address, *(reported.ip_addresses or ())):
        try:
            address = ip_address(text.partition("/")[0])
        except ValueError:
            continue  # Empty, as long as the guest has none.
        if not address.is_link_local:
            found.setdefault(address.version, str(address))
    mac = reported.mac.replace(":", "").replace("-", "").upper()
    return Card(mac, found.get(4, ""), found.get(6, ""))
