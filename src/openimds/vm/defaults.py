"""The whole document of a VM: the members that its author wrote, and Azure-like defaults.

Every derived value comes from the VM's name by a hash, so that the same name gives the same GUID,
hardware address and private address on every machine and in every release. A default is never
random and never depends on the other VMs of a fleet.
"""

from collections.abc import Callable
from functools import cached_property
from hashlib import sha256
from ipaddress import ip_network
from string import ascii_lowercase, digits
from typing import Any, TypeAlias
from uuid import UUID

from openimds.facts.clouds import CLOUDS
from openimds.facts.document import FIELDS, ONE_BY_DEFAULT
from openimds.facts.fields import Derived
from openimds.vm.schema_tree import Group, Leaf, Many, newest_tree
from openimds.vm.types import Vm

_PROFILE = "compute.storageProfile."
_IMAGE = _PROFILE + "imageReference."
_DATA = _PROFILE + "dataDisks[]."
_CUSTOM_IMAGE = tuple(
    _IMAGE + name for name in ("id", "communityGalleryImageId", "sharedGalleryImageId")
)

# The image of a VM without one, by its marketplace names: Ubuntu 24.04 or Windows Server 2022.
_UBUNTU = {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
_WINDOWS = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2022-datacenter-azure-edition",
}
_UBUNTU_VERSION, _WINDOWS_VERSION = "24.04.202510010", "20348.4294.251009"

_STEPS = {row.path: row.path.replace("[]", ".").split(".") for row in FIELDS}
"""The keys on the way to each leaf, an empty one for each array."""

Trail: TypeAlias = tuple[int, ...]
"""The positions in the arrays on the way to a leaf, outermost first."""


def complete(vm: Vm, tree: Group | None = None) -> dict[str, object]:
    """Return the document of a VM along a tree, every field of it present.

    Without a tree it is the newest document, `extended` included. A tree of an older api-version
    (`protocol.document.tree_at`) gives the document of that version.
    """
    return _Defaults(vm).fill(tree or newest_tree(), vm.document, ())


def text_at(vm: Vm, path: str) -> str:
    """Return the value at a path of the newest document, without completing all of it."""
    return _Defaults(vm).get(path)


def private_addresses(vm: Vm) -> list[str]:
    """Return the private addresses written for a VM, IPv4 before IPv6 on each interface."""
    network: Any = vm.document.get("network") or {}
    return [
        address["privateIpAddress"]
        for interface in network.get("interface", ())
        for family in ("ipv4", "ipv6")
        for address in interface.get(family, {}).get("ipAddress", ())
        if "privateIpAddress" in address
    ]


def default_address(vm: Vm) -> str:
    """Return the private address of the first interface of a VM without a written one."""
    return _private_address(_Defaults(vm), (0, 0))


def first_mac(vm: Vm) -> str:
    """Return the hardware address of a VM's first interface, as its document writes it."""
    return _Defaults(vm).get("network.interface[].macAddress", (0,))


class _Defaults:
    """The defaults of one VM, worked out when a document or another default needs them."""

    def __init__(self, vm: Vm) -> None:
        self.name, self.cloud = vm.name, vm.cloud
        self._document = vm.document
        self._derived: dict[str, str] = {}

    def fill(self, node: Group, written: Any, trail: Trail) -> dict[str, object]:  # noqa: ANN401 - a part of the document
        """Return a group with the members of `written` and defaults for the others."""
        document: dict[str, object] = {}
        for key, member in node.members.items():
            value: Any = written.get(key)
            if isinstance(member, Leaf):
                if value is None:
                    path = member.path
                    value = _LITERALS[path] if path in _LITERALS else self.derived(path, trail)
            elif isinstance(member, Group):
                value = self.fill(member, value or {}, trail)
            else:
                assert isinstance(member, Many)
                assert isinstance(member.item, Group)
                if value is None:
                    value = [{}] if member.path in ONE_BY_DEFAULT else []
                value = [self.fill(member.item, item, (*trail, i)) for i, item in enumerate(value)]
            document[key] = value
        if node.names:
            return {node.names.get(key, key): value for key, value in document.items()}
        return document

    def get(self, path: str, trail: Trail = ()) -> str:
        """Return the value at a path; `trail` has a position for each `[]`."""
        value = self.written(path, trail)
        if value is None and path in _LITERALS:
            return str(_LITERALS[path])
        return self.derived(path, trail) if value is None else value

    def written(self, path: str, trail: Trail = ()) -> str | None:
        """Return the value that the author of the VM wrote at a path, or None."""
        node: Any = self._document
        positions = iter(trail)
        for key in _STEPS[path]:
            if key:
                node = node.get(key)
            else:
                position = next(positions)
                node = node[position] if position < len(node) else None
            if node is None:
                return None
        return str(node)

    def derived(self, path: str, trail: Trail) -> str:
        """Return the default at a path by its rule."""
        if trail:
            return _DERIVED[path](self, trail)
        if path not in self._derived:
            self._derived[path] = _DERIVED[path](self, trail)
        return self._derived[path]

    def hash(self, kind: str, *trail: int) -> bytes:
        """Return 32 bytes that this VM's name always has for one purpose."""
        return sha256("\0".join(("openimds", kind, self.name, *map(str, trail))).encode()).digest()

    @cached_property
    def is_custom_image(self) -> bool:
        """Tell whether the image comes from a gallery, so that marketplace names are empty."""
        return any(self.written(path) for path in _CUSTOM_IMAGE)

    @cached_property
    def is_uniform_set(self) -> bool:
        """Tell whether the VM is an instance of a scale set in uniform orchestration."""
        flexible = self.written("compute.virtualMachineScaleSet.id")
        return bool(self.written("compute.vmScaleSetName")) and not flexible

    @cached_property
    def is_windows(self) -> bool:
        """Tell whether the operating system is Windows, written or by the image."""
        return self.get("compute.osType").lower() == "windows"

    @cached_property
    def written_os_type(self) -> str:
        """The operating system that the author of the VM wrote, or nothing."""
        os_disk = self.written(_PROFILE + "osDisk.osType")
        return self.written("compute.osType") or os_disk or ""


def _guid(seed: bytes) -> str:
    return str(UUID(bytes=seed[:16], version=4))


def _instance_number(vm: _Defaults) -> int:
    """Return the number in the name of a scale-set instance: `aks-pool-vmss_12` is the 12th."""
    tail = vm.get("compute.name").rpartition("_")[2]
    return int(tail) if tail.isascii() and tail.isdecimal() else 0


def _resource_id(vm: _Defaults, _: Trail) -> str:
    if vm.is_uniform_set:
        scale_set = vm.get("compute.vmScaleSetName")
        tail = f"virtualMachineScaleSets/{scale_set}/virtualMachines/{_instance_number(vm)}"
    else:
        tail = f"virtualMachines/{vm.get('compute.name')}"
    return f"{_group_id(vm)}/providers/Microsoft.Compute/{tail}"


def _group_id(vm: _Defaults) -> str:
    subscription, group = vm.get("compute.subscriptionId"), vm.get("compute.resourceGroupName")
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def _computer_name(vm: _Defaults, _: Trail) -> str:
    if not vm.is_uniform_set:
        return vm.get("compute.name").replace("_", "-")[:64]
    # Uniform instances are called by the set and six digits in base 36 (S15).
    number, suffix = _instance_number(vm), ""
    for _digit in range(6):
        number, rest = divmod(number, 36)
        suffix = (digits + ascii_lowercase)[rest] + suffix
    return vm.get("compute.vmScaleSetName") + suffix


def _os_type(vm: _Defaults, _: Trail) -> str:
    is_windows = vm.get("compute.publisher").lower().startswith("microsoftwindows")
    return vm.written_os_type or ("Windows" if is_windows else "Linux")


def _image(member: str) -> Callable[[_Defaults, Trail], str]:
    """Return the rule for a member of both `compute` and the image reference."""
    paths = (f"compute.{member}", _IMAGE + member)

    def rule(vm: _Defaults, _: Trail) -> str:
        for path in paths:
            value = vm.written(path)
            if value is not None:
                return value
        if vm.is_custom_image:
            return ""
        return (_WINDOWS if vm.written_os_type.lower() == "windows" else _UBUNTU)[member]

    return rule


def _exact_version(vm: _Defaults, _: Trail) -> str:
    version = vm.written(_IMAGE + "exactVersion") or vm.written(_IMAGE + "version")
    if version and version != "latest":
        return version
    if vm.is_custom_image:
        return ""
    return _WINDOWS_VERSION if vm.is_windows else _UBUNTU_VERSION


def _physical_zone(vm: _Defaults, _: Trail) -> str:
    zone = vm.get("compute.zone")
    return f"{vm.get('compute.location')}-az{zone}" if zone else ""


def _placement_group(vm: _Defaults, _: Trail) -> str:
    scale_set = vm.written("compute.vmScaleSetName")
    return _guid(sha256(f"openimds\0placement\0{scale_set}".encode()).digest()) if scale_set else ""


def _os_disk_name(vm: _Defaults, _: Trail) -> str:
    return f"{vm.get('compute.name')}_OsDisk_1_{vm.hash('os disk')[:16].hex()}"


def _disk_id(vm: _Defaults, name: str) -> str:
    return f"{_group_id(vm)}/providers/Microsoft.Compute/disks/{name}"


def _data_disk_name(vm: _Defaults, trail: Trail) -> str:
    return f"{vm.get('compute.name')}_DataDisk_{vm.get(_DATA + 'lun', trail)}"


def _data_disk_id(vm: _Defaults, trail: Trail) -> str:
    return _disk_id(vm, vm.get(_DATA + "name", trail))


def _mac(vm: _Defaults, trail: Trail) -> str:
    # 00-0D-3A is a prefix of Microsoft that recordings of Azure VMs show.
    return "000D3A" + vm.hash("mac", *trail)[:3].hex().upper()


def _private_address(vm: _Defaults, trail: Trail) -> str:
    a, b, c = vm.hash("address", *trail)[:3]
    # Azure keeps the first four addresses of a subnet and its last one.
    return f"10.{a}.{b}.{4 + c % 251}"


def _subnet_address(vm: _Defaults, trail: Trail) -> str:
    first = vm.get("network.interface[].ipv4.ipAddress[].privateIpAddress", (trail[0], 0))
    prefix = vm.get("network.interface[].ipv4.subnet[].prefix", trail)
    try:
        return str(ip_network(f"{first}/{prefix}", strict=False).network_address)
    except ValueError:  # A captured address may be anything, such as X.X.X.X in a document.
        return ""


_SUBSCRIPTION = _guid(sha256(b"openimds\0subscription").digest())

_RULES: dict[Derived, Callable[[_Defaults, Trail], str]] = {
    Derived.NAME: lambda vm, _: vm.name,
    Derived.CLOUD: lambda vm, _: vm.cloud,
    Derived.LOCATION: lambda vm, _: CLOUDS[vm.cloud].location,
    Derived.VM_ID: lambda vm, _: _guid(vm.hash("vmId")),
    Derived.SUBSCRIPTION: lambda *_: _SUBSCRIPTION,
    Derived.RESOURCE_ID: _resource_id,
    Derived.COMPUTER_NAME: _computer_name,
    Derived.KEYS_ONLY: lambda vm, _: "" if vm.is_windows else "true",
    Derived.OS_TYPE: _os_type,
    Derived.PLACEMENT_GROUP: _placement_group,
    Derived.PHYSICAL_ZONE: _physical_zone,
    Derived.PUBLISHER: _image("publisher"),
    Derived.OFFER: _image("offer"),
    Derived.SKU: _image("sku"),
    Derived.IMAGE_VERSION: lambda vm, _: "" if vm.is_custom_image else "latest",
    Derived.EXACT_VERSION: _exact_version,
    Derived.OS_DISK_SIZE: lambda vm, _: "127" if vm.is_windows else "30",
    Derived.OS_DISK_NAME: _os_disk_name,
    Derived.OS_DISK_ID: lambda vm, _: _disk_id(vm, vm.get(_PROFILE + "osDisk.name")),
    Derived.DATA_DISK_NAME: _data_disk_name,
    Derived.DATA_DISK_ID: _data_disk_id,
    Derived.POSITION: lambda _, trail: str(trail[-1]),
    Derived.KEY_PATH: lambda vm, _: (
        f"/home/{vm.get('compute.osProfile.adminUsername')}/.ssh/authorized_keys"
    ),
    Derived.MAC: _mac,
    Derived.PRIVATE_ADDRESS: _private_address,
    Derived.SUBNET_ADDRESS: _subnet_address,
}

_LITERALS = {row.path: row.default for row in FIELDS if not isinstance(row.default, Derived)}
_DERIVED = {row.path: _RULES[row.default] for row in FIELDS if isinstance(row.default, Derived)}
