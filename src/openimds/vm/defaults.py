"""The whole newest document of a VM: what was said, and for the rest what Azure would likely say.

Every derived value comes from the VM's name by a hash, so that the same name gives the same GUID,
hardware address and private address on every machine and in every release. A default is never
random and never depends on the other VMs of a fleet.
"""

from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_interface
from string import ascii_lowercase, digits
from typing import Any
from uuid import UUID

from openimds.facts.clouds import CLOUDS
from openimds.facts.document import FIELDS, ONE_BY_DEFAULT
from openimds.facts.fields import Derived
from openimds.vm.schema_tree import Group, Leaf, Many, Node, newest_tree
from openimds.vm.types import Vm

_ROWS = {row.path: row for row in FIELDS}
_PROFILE = "compute.storageProfile."
_IMAGE = _PROFILE + "imageReference."
_DATA = _PROFILE + "dataDisks[]."
_CUSTOM_IMAGE = tuple(
    _IMAGE + name for name in ("id", "communityGalleryImageId", "sharedGalleryImageId")
)

# The image of a VM that names none: marketplace words of Ubuntu 24.04 and Windows Server 2022.
_UBUNTU = {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
_WINDOWS = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter-azure-edition",
}
_UBUNTU_VERSION, _WINDOWS_VERSION = "24.04.202510010", "20348.4294.251009"

Trail = tuple[int, ...]
"""The positions of the arrays on the way to a leaf, outermost first."""


def complete(vm: Vm) -> dict[str, object]:
    """Return the newest document of a VM with every field, `extended` included."""
    facts = _Facts(vm)
    answer = facts.fill(newest_tree(), vm.document, ())
    assert isinstance(answer, dict)
    return answer


def text_at(vm: Vm, path: str) -> str:
    """Return what the complete document says at a path, without making the whole of it."""
    return _Facts(vm).get(path)


def private_addresses(vm: Vm) -> list[str]:
    """Return the private addresses that were said of a VM, IPv4 before IPv6 on each interface."""
    network = vm.document.get("network")
    return [
        str(address["privateIpAddress"])
        for nic in _list(network, "interface")
        for family in ("ipv4", "ipv6")
        for address in _list(_member(nic, family), "ipAddress")
        if "privateIpAddress" in _dict(address)
    ]


def default_address(vm: Vm) -> str:
    """Return the private address of the first interface of a VM of which none was said."""
    return _private_address(_Facts(vm), (0, 0))


def first_mac(vm: Vm) -> str:
    """Return the hardware address of the first interface of a VM, as its document writes it."""
    return _Facts(vm).get("network.interface[].macAddress", (0,))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _member(value: object, name: str) -> object:
    return _dict(value).get(name)


def _list(value: object, name: str) -> list[Any]:
    members = _member(value, name)
    return members if isinstance(members, list) else []


class _Facts:
    """What is known while one document is filled: the VM and the values that others build on."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm

    def fill(self, node: Node, said: object, trail: Trail) -> object:
        """Return `said` completed along `node`."""
        match node:
            case Leaf():
                return self._default(node.path, trail) if said is None else said
            case Group(members=members):
                known = said if isinstance(said, dict) else {}
                return {key: self.fill(one, known.get(key), trail) for key, one in members.items()}
            case Many(path=path, item=item):
                if not isinstance(said, list):
                    said = [None] if path in ONE_BY_DEFAULT else []
                return [self.fill(item, one, (*trail, i)) for i, one in enumerate(said)]
            case _:
                raise TypeError(node.path)

    def get(self, path: str, trail: Trail = ()) -> str:
        """Return the value at a path, said or default; `trail` has a position for each `[]`."""
        said = self.said(path, trail)
        return str(self._default(path, trail)) if said is None else said

    def said(self, path: str, trail: Trail = ()) -> str | None:
        """Return the value that was said at a path, or None."""
        node: object = self.vm.document
        positions = iter(trail)
        for name in path.split("."):
            if name.endswith("[]"):
                node = dict(enumerate(_list(node, name[:-2]))).get(next(positions))
            else:
                node = _member(node, name)
        return None if node is None else str(node)

    def hash(self, kind: str, *trail: int) -> bytes:
        """Return 32 bytes that this VM's name always has for this purpose."""
        return sha256(
            "\0".join(("openimds", kind, self.vm.name, *map(str, trail))).encode()
        ).digest()

    def is_custom_image(self) -> bool:
        """Tell whether the image comes from a gallery, so that marketplace words are empty."""
        return any(self.said(path) for path in _CUSTOM_IMAGE)

    def is_uniform_set(self) -> bool:
        """Tell whether the VM is an instance of a scale set in uniform orchestration."""
        flexible = self.said("compute.virtualMachineScaleSet.id")
        return bool(self.said("compute.vmScaleSetName")) and not flexible

    def _default(self, path: str, trail: Trail) -> object:
        default = _ROWS[path].default
        return _RULES[default](self, trail) if isinstance(default, Derived) else default


def _guid(seed: bytes) -> str:
    return str(UUID(bytes=seed[:16], version=4))


def _instance_number(facts: _Facts) -> int:
    """Return the number in the name of a scale-set instance: `aks-pool-vmss_12` is the 12th."""
    tail = facts.get("compute.name").rpartition("_")[2]
    return int(tail) if tail.isascii() and tail.isdecimal() else 0


def _resource_id(facts: _Facts, _: Trail) -> str:
    name = facts.get("compute.name")
    if facts.is_uniform_set():
        owner = facts.get("compute.vmScaleSetName")
        tail = f"virtualMachineScaleSets/{owner}/virtualMachines/{_instance_number(facts)}"
    else:
        tail = f"virtualMachines/{name}"
    return f"{_group_id(facts)}/providers/Microsoft.Compute/{tail}"


def _group_id(facts: _Facts) -> str:
    subscription, group = (
        facts.get("compute.subscriptionId"),
        facts.get("compute.resourceGroupName"),
    )
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def _computer_name(facts: _Facts, _: Trail) -> str:
    if not facts.is_uniform_set():
        return facts.get("compute.name").replace("_", "-")[:64]
    # Uniform instances are called by the set and six digits in base 36 (S15).
    number, suffix = _instance_number(facts), ""
    for _digit in range(6):
        number, rest = divmod(number, 36)
        suffix = (digits + ascii_lowercase)[rest] + suffix
    return facts.get("compute.vmScaleSetName") + suffix


def _os_type(facts: _Facts, _: Trail) -> str:
    said = facts.said("compute.osType") or facts.said(_PROFILE + "osDisk.osType")
    is_windows = facts.get("compute.publisher").lower().startswith("microsoftwindows")
    return said or ("Windows" if is_windows else "Linux")


def _is_windows(facts: _Facts) -> bool:
    return facts.get("compute.osType").lower() == "windows"


def _image(word: str) -> Callable[[_Facts, Trail], str]:
    """Return the rule for a word that stands in `compute` and in the image reference alike."""

    def rule(facts: _Facts, _: Trail) -> str:
        for path in (f"compute.{word}", _IMAGE + word):
            said = facts.said(path)
            if said is not None:
                return said
        if facts.is_custom_image():
            return ""
        return (_WINDOWS if _said_windows(facts) else _UBUNTU)[word]

    return rule


def _said_windows(facts: _Facts) -> bool:
    """Tell whether somebody said that the system is Windows."""
    said = facts.said("compute.osType") or facts.said(_PROFILE + "osDisk.osType")
    return (said or "").lower() == "windows"


def _exact_version(facts: _Facts, _: Trail) -> str:
    said = facts.said(_IMAGE + "exactVersion") or facts.said(_IMAGE + "version")
    if said and said != "latest":
        return said
    if facts.is_custom_image():
        return ""
    return _WINDOWS_VERSION if _is_windows(facts) else _UBUNTU_VERSION


def _physical_zone(facts: _Facts, _: Trail) -> str:
    zone = facts.get("compute.zone")
    return f"{facts.get('compute.location')}-az{zone}" if zone else ""


def _placement_group(facts: _Facts, _: Trail) -> str:
    owner = facts.said("compute.vmScaleSetName")
    return _guid(sha256(f"openimds\0placement\0{owner}".encode()).digest()) if owner else ""


def _os_disk_name(facts: _Facts, _: Trail) -> str:
    return f"{facts.get('compute.name')}_OsDisk_1_{facts.hash('os disk')[:16].hex()}"


def _disk_id(facts: _Facts, name: str) -> str:
    return f"{_group_id(facts)}/providers/Microsoft.Compute/disks/{name}"


def _data_disk_name(facts: _Facts, trail: Trail) -> str:
    return f"{facts.get('compute.name')}_DataDisk_{facts.get(_DATA + 'lun', trail)}"


def _data_disk_id(facts: _Facts, trail: Trail) -> str:
    return _disk_id(facts, facts.get(_DATA + "name", trail))


def _mac(facts: _Facts, trail: Trail) -> str:
    # 00-0D-3A is a prefix of Microsoft's that recordings of Azure VMs show.
    return "000D3A" + facts.hash("mac", *trail)[:3].hex().upper()


def _private_address(facts: _Facts, trail: Trail) -> str:
    a, b, c = facts.hash("address", *trail)[:3]
    # Azure keeps the first four addresses of a subnet and its last one.
    return f"10.{a}.{b}.{4 + c % 251}"


def _subnet_address(facts: _Facts, trail: Trail) -> str:
    first = facts.get("network.interface[].ipv4.ipAddress[].privateIpAddress", (trail[0], 0))
    prefix = facts.get("network.interface[].ipv4.subnet[].prefix", trail)
    try:
        return str(ip_interface(f"{first}/{prefix}").network.network_address)
    except ValueError:  # A captured address may be anything, such as X.X.X.X in a document.
        return ""


_RULES: dict[Derived, Callable[[_Facts, Trail], str]] = {
    Derived.NAME: lambda facts, _: facts.vm.name,
    Derived.CLOUD: lambda facts, _: facts.vm.cloud,
    Derived.LOCATION: lambda facts, _: CLOUDS[facts.vm.cloud].location,
    Derived.VM_ID: lambda facts, _: _guid(facts.hash("vmId")),
    Derived.SUBSCRIPTION: lambda *_: _guid(sha256(b"openimds\0subscription").digest()),
    Derived.RESOURCE_ID: _resource_id,
    Derived.COMPUTER_NAME: _computer_name,
    Derived.KEYS_ONLY: lambda facts, _: "" if _is_windows(facts) else "true",
    Derived.OS_TYPE: _os_type,
    Derived.PLACEMENT_GROUP: _placement_group,
    Derived.PHYSICAL_ZONE: _physical_zone,
    Derived.PUBLISHER: _image("publisher"),
    Derived.OFFER: _image("offer"),
    Derived.SKU: _image("sku"),
    Derived.IMAGE_VERSION: lambda facts, _: "" if facts.is_custom_image() else "latest",
    Derived.EXACT_VERSION: _exact_version,
    Derived.OS_DISK_SIZE: lambda facts, _: "127" if _is_windows(facts) else "30",
    Derived.OS_DISK_NAME: _os_disk_name,
    Derived.OS_DISK_ID: lambda facts, _: _disk_id(facts, facts.get(_PROFILE + "osDisk.name")),
    Derived.DATA_DISK_NAME: _data_disk_name,
    Derived.DATA_DISK_ID: _data_disk_id,
    Derived.POSITION: lambda _, trail: str(trail[-1]),
    Derived.KEY_PATH: lambda facts, _: (
        f"/home/{facts.get('compute.osProfile.adminUsername')}/.ssh/authorized_keys"
    ),
    Derived.MAC: _mac,
    Derived.PRIVATE_ADDRESS: _private_address,
    Derived.SUBNET_ADDRESS: _subnet_address,
}
