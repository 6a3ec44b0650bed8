"""The whole document of a VM: the members that its author wrote, and Azure-like defaults.

Every derived value comes from the VM's name by a hash, so that the same name gives the same GUID,
hardware address and private address on every machine and in every release. A default is never
random and never depends on the other VMs of a fleet.
"""

from base64 import b64encode
from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, ip_network
from string import ascii_lowercase, digits
from typing import Any

from openimds.facts.clouds import CLOUDS
from openimds.facts.fields import Derived
from openimds.facts.network import MAC_PREFIXES, PREFIX, SUBNET_PREFIXES
from openimds.facts.sizes import SIZES
from openimds.vm.derivation import Derivation
from openimds.vm.document_plan import ObjectPlan, Trail, compile_plan
from openimds.vm.schema_tree import Group, newest_tree
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
_CLIENT_VERSION = "22621.1992.230708"
"""The build of a Windows for desktops (S62)."""
_IMAGE_NAMES = tuple(
    f"{above}{name}" for above in ("compute.", _IMAGE) for name in ("publisher", "offer", "sku")
)
_SECURITY = "compute.securityProfile."


def plan_of(tree: Group) -> ObjectPlan:
    """Compile the plan of the documents along a tree; callers keep it for `complete`."""
    return compile_plan(tree, _RULES)


def complete(vm: Vm, plan: ObjectPlan | None = None) -> dict[str, object]:
    """Return the document of a VM by a plan, every field of it present.

    Without a plan it is the newest document, `extended` included. The plan of an older api-version
    (`protocol.document.plan_at`) gives the document of that version.
    """
    return (plan or _newest_plan()).fill(Derivation(vm, _RULES).derived, vm.document, ())


@cache
def _newest_plan() -> ObjectPlan:
    return plan_of(newest_tree())


def text_at(vm: Vm, path: str) -> str:
    """Return the value at a path of the newest document, without completing all of it."""
    return Derivation(vm, _RULES).get(path)


def private_addresses(vm: Vm) -> list[str]:
    """Return the private addresses written for a VM, IPv4 before IPv6 on each interface."""
    network: Any = vm.document.get("network") or {}
    return [
        address["privateIpAddress"]
        for interface in network.get("interface") or ()
        for family in ("ipv4", "ipv6")
        for address in interface.get(family, {}).get("ipAddress") or ()
        if "privateIpAddress" in address
    ]


def secondary_addresses(vm: Vm) -> frozenset[str]:
    """Return the written private addresses of a VM but its primary one."""
    return frozenset(private_addresses(vm)[1:])


def default_address(vm: Vm) -> str:
    """Return the private address of the first interface of a VM without a written one."""
    return _private_address(Derivation(vm, _RULES), (0, 0))


def first_mac(vm: Vm) -> str:
    """Return the hardware address of a VM's first interface, as its document writes it."""
    return Derivation(vm, _RULES).get("network.interface[].macAddress", (0,))


def hardware_address(vm: Vm) -> str:
    """Return the hexadecimal digits of the hardware address by which a host knows a VM.

    They are 12, in lower case, unless the address is malformed.
    """
    text = vm.reach.mac or first_mac(vm)
    return "".join(char for char in text.lower() if char in "0123456789abcdef")


def _is_custom_image(vm: Derivation, _: Trail) -> bool:
    """Tell whether the image comes from a gallery, so that marketplace names are empty."""
    return any(vm.written(path) for path in _CUSTOM_IMAGE)


def _is_specialized(vm: Derivation, _: Trail) -> bool:
    """Tell whether the OS disk was attached, so that image and profile are empty (S62)."""
    return (vm.written(_PROFILE + "osDisk.createOption") or "").lower() == "attach"


def _is_default_image(vm: Derivation, _: Trail) -> bool:
    """Tell whether no image is written: the default ones are Gen2 of 2025."""
    if vm.derived(_is_custom_image) or vm.derived(_is_specialized):
        return False
    return not any(vm.written(path) for path in _IMAGE_NAMES)


def _is_trusted(vm: Derivation, _: Trail) -> bool:
    """Tell whether the VM has Trusted Launch: its parts follow from each other (S62)."""
    security_type = vm.written(_SECURITY + "securityType")
    if security_type is not None:
        return security_type.lower() == "trustedlaunch"
    parts = [vm.written(_SECURITY + name) for name in ("secureBootEnabled", "virtualTpmEnabled")]
    if any(part is not None for part in parts):
        return "true" in parts
    return vm.derived(_is_default_image)


def _keys_only(vm: Derivation, _: Trail) -> str:
    if vm.derived(_is_windows) or vm.derived(_is_specialized):
        return ""
    return "false" if vm.has_none("compute", "publicKeys") else "true"


def _has_key(vm: Derivation, _: Trail) -> str:
    """Return a text if the VM takes keys alone, so that it has one (S62)."""
    keys_only = vm.get("compute.osProfile.disablePasswordAuthentication")
    return "1" if keys_only.lower() == "true" else ""


def _key(vm: Derivation, trail: Trail) -> str:
    """Return an Ed25519 key in the form of OpenSSH (RFC 8709), made of a hash."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + vm.hash("key", *trail)
    return f"ssh-ed25519 {b64encode(blob).decode()} {vm.name}"


def _temporary_disk(vm: Derivation, _: Trail) -> str:
    compute: Any = vm.document.get("compute") or {}
    size = SIZES.get(str(compute.get("vmSize", "")).lower())  # The default size has none.
    return str(size.temporary_mib) if size else "0"


def _license(vm: Derivation, _: Trail) -> str:
    return "Windows_Client" if vm.derived(_is_client) else ""


def _is_client(vm: Derivation, _: Trail) -> bool:
    """Tell whether the image is one of a Windows for desktops (S62)."""
    return vm.get("compute.publisher").lower() == "microsoftwindowsdesktop"


def _is_uniform_set(vm: Derivation, _: Trail) -> bool:
    """Tell whether the VM is an instance of a scale set in uniform orchestration."""
    flexible = vm.written("compute.virtualMachineScaleSet.id")
    return bool(vm.written("compute.vmScaleSetName")) and not flexible


def _is_windows(vm: Derivation, _: Trail) -> bool:
    """Tell whether the operating system is Windows, written or by the image."""
    return vm.get("compute.osType").lower() == "windows"


def _written_os_type(vm: Derivation, _: Trail) -> str:
    """Return the operating system that the author of the VM wrote, or nothing."""
    return vm.written("compute.osType") or vm.written(_PROFILE + "osDisk.osType") or ""


def _guid(seed: bytes) -> str:
    """Return the version 4 GUID of the first 16 bytes, as `uuid.UUID` would, but sooner."""
    octets = bytearray(seed[:16])
    octets[6] = octets[6] & 0x0F | 0x40  # The version, and below the variant (RFC 9562).
    octets[8] = octets[8] & 0x3F | 0x80
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _instance_number(vm: Derivation) -> int:
    """Return the number in the name of a scale-set instance: `aks-pool-vmss_12` is the 12th."""
    tail = vm.get("compute.name").rpartition("_")[2]
    return int(tail) if tail.isascii() and tail.isdecimal() else 0


def _resource_id(vm: Derivation, _: Trail) -> str:
    if vm.derived(_is_uniform_set):
        scale_set = vm.get("compute.vmScaleSetName")
        tail = f"virtualMachineScaleSets/{scale_set}/virtualMachines/{_instance_number(vm)}"
    else:
        tail = f"virtualMachines/{vm.get('compute.name')}"
    return f"{vm.derived(_group_id)}/providers/Microsoft.Compute/{tail}"


def _group_id(vm: Derivation, _: Trail) -> str:
    subscription, group = vm.get("compute.subscriptionId"), vm.get("compute.resourceGroupName")
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


def _computer_name(vm: Derivation, _: Trail) -> str:
    if vm.derived(_is_specialized):
        return ""
    if not vm.derived(_is_uniform_set):
        return vm.get("compute.name").replace("_", "-")[:64]
    # Uniform instances are called by the set and six digits in base 36 (S15).
    number, suffix = _instance_number(vm), ""
    for _digit in range(6):
        number, rest = divmod(number, 36)
        suffix = (digits + ascii_lowercase)[rest] + suffix
    return vm.get("compute.vmScaleSetName") + suffix


def _os_type(vm: Derivation, _: Trail) -> str:
    is_windows = vm.get("compute.publisher").lower().startswith("microsoftwindows")
    return vm.derived(_written_os_type) or ("Windows" if is_windows else "Linux")


def _image(member: str) -> Callable[[Derivation, Trail], str]:
    """Return the rule for a member of both `compute` and the image reference."""
    paths = (f"compute.{member}", _IMAGE + member)

    def rule(vm: Derivation, _: Trail) -> str:
        for path in paths:
            value = vm.written(path)
            if value is not None:
                return value
        if vm.derived(_is_custom_image) or vm.derived(_is_specialized):
            return ""
        return (_WINDOWS if vm.derived(_written_os_type).lower() == "windows" else _UBUNTU)[member]

    return rule


def _exact_version(vm: Derivation, _: Trail) -> str:
    version = vm.written(_IMAGE + "exactVersion") or vm.written(_IMAGE + "version")
    if version and version != "latest":
        return version
    if vm.derived(_is_custom_image):
        return vm.derived(_gallery_version)
    if vm.derived(_is_specialized):
        return ""
    if vm.derived(_is_client):
        return _CLIENT_VERSION
    return _WINDOWS_VERSION if vm.derived(_is_windows) else _UBUNTU_VERSION


def _gallery_version(vm: Derivation, _: Trail) -> str:
    """Return the version in the id of a gallery image (S63)."""
    for path in _CUSTOM_IMAGE:
        above, _slash, version = (vm.written(path) or "").rpartition("/")
        if above.lower().endswith("/versions") and version.lower() != "latest":
            return version
    return ""


def _reference_version(vm: Derivation, _: Trail) -> str:
    return "" if vm.derived(_is_custom_image) else vm.get("compute.version")


def _image_version(vm: Derivation, _: Trail) -> str:
    return "" if vm.derived(_is_custom_image) or vm.derived(_is_specialized) else "latest"


def _physical_zone(vm: Derivation, _: Trail) -> str:
    zone = vm.get("compute.zone")
    return f"{vm.get('compute.location')}-az{zone}" if zone else ""


def _placement_group(vm: Derivation, _: Trail) -> str:
    scale_set = vm.written("compute.vmScaleSetName")
    return _guid(sha256(f"openimds\0placement\0{scale_set}".encode()).digest()) if scale_set else ""


def _os_disk_name(vm: Derivation, _: Trail) -> str:
    return f"{vm.get('compute.name')}_OsDisk_1_{vm.hash('os disk')[:16].hex()}"


def _disk_id(vm: Derivation, name: str) -> str:
    return f"{vm.derived(_group_id)}/providers/Microsoft.Compute/disks/{name}"


def _data_disk_name(vm: Derivation, trail: Trail) -> str:
    return f"{vm.get('compute.name')}_DataDisk_{vm.get(_DATA + 'lun', trail)}"


def _data_disk_id(vm: Derivation, trail: Trail) -> str:
    return _disk_id(vm, vm.get(_DATA + "name", trail))


def _mac(vm: Derivation, trail: Trail) -> str:
    octets = vm.hash("mac", *trail)
    prefix = MAC_PREFIXES[octets[3] % len(MAC_PREFIXES)] if vm.is_varied else PREFIX
    return prefix + octets[:3].hex().upper()


def _private_address(vm: Derivation, trail: Trail) -> str:
    octets = vm.hash("address", *trail)
    a, b, c = octets[:3]
    if vm.is_varied:
        # One VM in eight is in 172.16.0.0/12; the host's part is in the first or only /24.
        block = min(256, 1 << 32 - _subnet_prefix(vm, trail[0]))
        start = c // block * block
        head = f"172.{16 + a % 16}" if octets[3] % 8 == 0 else f"10.{a}"
        return f"{head}.{b}.{start + 4 + octets[4] % (block - 5)}"
    # Azure keeps the first four addresses of a subnet and its last one.
    return f"10.{a}.{b}.{4 + c % 251}"


def _subnet_prefix(vm: Derivation, interface: int) -> int:
    """Return the length of the prefix of an interface's subnets."""
    if not vm.is_varied:
        return 24
    return SUBNET_PREFIXES[vm.hash("subnet", interface)[0] % len(SUBNET_PREFIXES)]


def _subnet_address(vm: Derivation, trail: Trail) -> str:
    first = vm.get("network.interface[].ipv4.ipAddress[].privateIpAddress", (trail[0], 0))
    prefix = vm.get("network.interface[].ipv4.subnet[].prefix", trail)
    try:
        if ":" in first:
            return str(ip_network(f"{first}/{prefix}", strict=False).network_address)
        return str(IPv4Address(int(IPv4Address(first)) & _mask(prefix)))
    except ValueError:  # A captured address may be anything, such as X.X.X.X in a document.
        return ""


@lru_cache(maxsize=64)
def _mask(prefix: str) -> int:
    """Return the network mask of a prefix: VMs have many addresses, and few prefixes."""
    return int(IPv4Network(f"0.0.0.0/{prefix}").netmask)


_SUBSCRIPTION = _guid(sha256(b"openimds\0subscription").digest())

_EVERYWHERE: dict[Derived, Callable[[Derivation, Trail], str]] = {
    Derived.NAME: lambda vm, _: vm.name,
    Derived.CLOUD: lambda vm, _: vm.cloud,
    Derived.LOCATION: lambda vm, _: CLOUDS[vm.cloud].location,
    Derived.VM_ID: lambda vm, _: _guid(vm.hash("vmId")),
    Derived.SUBSCRIPTION: lambda *_: _SUBSCRIPTION,
    Derived.RESOURCE_ID: _resource_id,
    Derived.COMPUTER_NAME: _computer_name,
    Derived.KEYS_ONLY: _keys_only,
    Derived.ADMIN: lambda vm, _: "" if vm.derived(_is_specialized) else "azureuser",
    Derived.KEY: _key,
    Derived.HAS_KEY: _has_key,
    Derived.TRUSTED: lambda vm, _: str(vm.derived(_is_trusted)).lower(),
    Derived.SECURITY_TYPE: lambda vm, _: "TrustedLaunch" if vm.derived(_is_trusted) else "",
    Derived.LICENSE: _license,
    Derived.REFERENCE_VERSION: _reference_version,
    Derived.TEMPORARY_DISK: _temporary_disk,
    Derived.OS_TYPE: _os_type,
    Derived.PLACEMENT_GROUP: _placement_group,
    Derived.PHYSICAL_ZONE: _physical_zone,
    Derived.PUBLISHER: _image("publisher"),
    Derived.OFFER: _image("offer"),
    Derived.SKU: _image("sku"),
    Derived.IMAGE_VERSION: _image_version,
    Derived.EXACT_VERSION: _exact_version,
    Derived.OS_DISK_SIZE: lambda vm, _: "127" if vm.derived(_is_windows) else "30",
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
    Derived.SUBNET_PREFIX: lambda vm, trail: str(_subnet_prefix(vm, trail[0])),
}


def _unless_empty(default: Derived) -> Callable[[Derivation, Trail], str]:
    """Return the rule of a default that is an empty text in some clouds."""
    rule = _EVERYWHERE[default]
    return lambda vm, trail: "" if default in CLOUDS[vm.cloud].empty else rule(vm, trail)


_RULES = _EVERYWHERE | {
    default: _unless_empty(default) for row in CLOUDS.values() for default in row.empty
}
