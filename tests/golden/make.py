"""Remake the golden files from head.json and the tables below.

The tables are transcribed by hand from imds-wire.md (B.1, B.3, C.1 to C.4 and K) and share nothing
with the product: what they produce is a second opinion, so neither may ever be derived from the
other.

    python -m tests.golden.make            write instance/*.json and cases.json
    python -m tests.golden.make --check    write nothing, exit 1 if a file is not as made
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.golden.absences import absent
from tests.golden.answers import answered
from tests.golden.case import Json, as_rows, compact
from tests.golden.refusals import refused
from tests.golden.texts import told

HERE = Path(__file__).resolve().parent

# B.1, oldest first: the 35 documented versions, then the three that only clients give away (K).
VERSIONS = [
    "2017-03-01",
    "2017-04-02",
    "2017-08-01",
    "2017-10-01",
    "2017-12-01",
    "2018-02-01",
    "2018-04-02",
    "2018-10-01",
    "2019-02-01",
    "2019-03-11",
    "2019-04-30",
    "2019-06-01",
    "2019-06-04",
    "2019-08-01",
    "2019-08-15",
    "2019-11-01",
    "2020-06-01",
    "2020-07-15",
    "2020-09-01",
    "2020-10-01",
    "2020-12-01",
    "2021-01-01",
    "2021-02-01",
    "2021-03-01",
    "2021-05-01",
    "2021-08-01",
    "2021-10-01",
    "2021-11-01",
    "2021-11-15",
    "2021-12-13",
    "2023-07-01",
    "2023-11-15",
    "2024-03-15",
    "2024-07-17",
    "2025-04-07",
    "2025-07-24",
    "2025-11-11",
    "2025-11-15",
]

# B.3: the paths each version added, `[]` for "every element". A path, once added, stays; the only
# exception is GONE. Versions that added nothing to the instance document have no row.
ADDED: dict[str, str] = {
    "2017-03-01": """
        compute.location compute.name compute.offer compute.osType compute.platformFaultDomain
        compute.platformUpdateDomain compute.publisher compute.sku compute.version compute.vmId
        compute.vmSize
        network.interface[].ipv4.ipAddress[].privateIpAddress
        network.interface[].ipv4.ipAddress[].publicIpAddress
        network.interface[].ipv4.subnet[].address
        network.interface[].ipv4.subnet[].dnsservers[].ipaddress
        network.interface[].ipv4.subnet[].prefix
        network.interface[].ipv6.ipAddress[].privateIpAddress
        network.interface[].macAddress
    """,
    "2017-08-01": """
        compute.placementGroupId compute.resourceGroupName compute.subscriptionId compute.tags
    """,
    "2017-12-01": "compute.vmScaleSetName compute.zone",
    "2018-04-02": """
        compute.plan.name compute.plan.product compute.plan.publisher
        compute.publicKeys[].keyData compute.publicKeys[].path
    """,
    "2018-10-01": "compute.azEnvironment compute.provider",
    # The swagger drops customData from 2019-06-01 on, every recording keeps it (C.1).
    "2019-02-01": "compute.customData",
    "2019-03-11": "compute.resourceId",
    "2019-06-01": """
        compute.storageProfile.dataDisks[].caching
        compute.storageProfile.dataDisks[].createOption
        compute.storageProfile.dataDisks[].diskSizeGB
        compute.storageProfile.dataDisks[].image.uri
        compute.storageProfile.dataDisks[].lun
        compute.storageProfile.dataDisks[].managedDisk.id
        compute.storageProfile.dataDisks[].managedDisk.storageAccountType
        compute.storageProfile.dataDisks[].name
        compute.storageProfile.dataDisks[].vhd.uri
        compute.storageProfile.dataDisks[].writeAcceleratorEnabled
        compute.storageProfile.imageReference.id
        compute.storageProfile.imageReference.offer
        compute.storageProfile.imageReference.publisher
        compute.storageProfile.imageReference.sku
        compute.storageProfile.imageReference.version
        compute.storageProfile.osDisk.caching
        compute.storageProfile.osDisk.createOption
        compute.storageProfile.osDisk.diskSizeGB
        compute.storageProfile.osDisk.encryptionSettings.enabled
        compute.storageProfile.osDisk.image.uri
        compute.storageProfile.osDisk.managedDisk.id
        compute.storageProfile.osDisk.managedDisk.storageAccountType
        compute.storageProfile.osDisk.name
        compute.storageProfile.osDisk.osType
        compute.storageProfile.osDisk.vhd.uri
        compute.storageProfile.osDisk.writeAcceleratorEnabled
    """,
    # The swagger omits tagsList in 2019-08-15 and 2019-11-01, a recording of 2019-08-15 has it.
    "2019-06-04": "compute.tagsList[].name compute.tagsList[].value",
    "2019-08-01": "compute.storageProfile.osDisk.diffDiskSettings.option",
    "2020-06-01": """
        compute.isHostCompatibilityLayerVm
        compute.securityProfile.secureBootEnabled compute.securityProfile.virtualTpmEnabled
    """,
    "2020-07-15": "compute.osProfile.adminUsername compute.osProfile.computerName",
    "2020-09-01": "compute.licenseType",
    "2020-10-01": "compute.osProfile.disablePasswordAuthentication",
    "2020-12-01": "compute.evictionPolicy compute.priority",
    "2021-01-01": "compute.userData",
    "2021-02-01": "compute.storageProfile.resourceDisk.size",
    "2021-03-01": """
        compute.extendedLocation.name compute.extendedLocation.type
        compute.virtualMachineScaleSet.id
    """,
    "2021-05-01": """
        compute.storageProfile.dataDisks[].bytesPerSecondThrottle
        compute.storageProfile.dataDisks[].diskCapacityBytes
        compute.storageProfile.dataDisks[].isSharedDisk
        compute.storageProfile.dataDisks[].isUltraDisk
        compute.storageProfile.dataDisks[].opsPerSecondThrottle
    """,
    "2021-10-01": "compute.platformSubFaultDomain",
    "2021-11-01": """
        compute.additionalCapabilities.hibernationEnabled
        compute.securityProfile.encryptionAtHost
        compute.storageProfile.osDisk.encryptionSettings.diskEncryptionKey.secretUrl
        compute.storageProfile.osDisk.encryptionSettings.diskEncryptionKey.sourceVault.id
        compute.storageProfile.osDisk.encryptionSettings.keyEncryptionKey.keyUrl
        compute.storageProfile.osDisk.encryptionSettings.keyEncryptionKey.sourceVault.id
    """,
    "2021-11-15": "compute.host.id compute.hostGroup.id",
    "2021-12-13": "compute.securityProfile.securityType",
    "2023-07-01": """
        compute.storageProfile.imageReference.communityGalleryImageId
        compute.storageProfile.imageReference.exactVersion
        compute.storageProfile.imageReference.sharedGalleryImageId
    """,
    "2023-11-15": "compute.physicalZone",
    # From here on no document says which version brought what: these rows are the choices of K.
    "2024-07-17": "compute.isVmInStandbyPool",
    "2025-04-07": """
        compute.systemFaultDomain
        network.interface[].ipv4.ipAddressBlock[].address
        network.interface[].ipv4.ipAddressBlock[].prefix
        network.interface[].ipv6.ipAddressBlock[].address
        network.interface[].ipv6.ipAddressBlock[].prefix
    """,
    "2025-07-24": "network.interface[].interfaceCompartmentID",
    "2025-11-11": "compute.interconnectGroupId compute.interconnectSubgroupId",
}

# C.4: only the preview version had DNS servers ...
GONE: dict[str, str] = {"2017-04-02": "network.interface[].ipv4.subnet[].dnsservers[].ipaddress"}

# ... and it had its own words. That ipv6 used `ipaddress` too is inferred from ipv4.
PREVIEW = "2017-03-01"
PREVIEW_NAMES = {
    "ipAddress": "ipaddress",
    "privateIpAddress": "ipaddress",
    "publicIpAddress": "publicip",
    "macAddress": "mac",
}


def known_paths(version: str) -> set[str]:
    """The paths of the leaves which a version knows."""
    added = {path for since, row in ADDED.items() if since <= version for path in row.split()}
    gone = {path for since, row in GONE.items() if since <= version for path in row.split()}
    return added - gone


def with_parents(leaves: set[str]) -> set[str]:
    """The same paths and every object, array and element on the way to them."""
    found = set()
    for leaf in leaves:
        steps = leaf.replace("[]", ".[]").split(".")
        found |= {".".join(steps[:end]) for end in range(1, len(steps) + 1)}
    return {path.replace(".[]", "[]") for path in found}


def cut(node: Json, known: set[str], path: str = "") -> Json:
    """The part of a document that is made of known paths."""
    if isinstance(node, list):
        return [cut(item, known, f"{path}[]") for item in node]
    if isinstance(node, dict):
        children = {key: f"{path}.{key}".lstrip(".") for key in node}
        return {key: cut(node[key], known, to) for key, to in children.items() if to in known}
    return node


def rename(node: Json, names: dict[str, str]) -> Json:
    """The same document in other words."""
    if isinstance(node, list):
        return [rename(item, names) for item in node]
    if isinstance(node, dict):
        return {names.get(key, key): rename(value, names) for key, value in node.items()}
    return node


def leaf_paths(node: Json, path: str = "") -> Iterator[str]:
    """The paths of all leaves that a document holds."""
    if isinstance(node, list):
        for item in node:
            yield from leaf_paths(item, f"{path}[]")
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from leaf_paths(value, f"{path}.{key}".lstrip("."))
    else:
        yield path


def documents() -> dict[str, Json]:
    """The instance document of every version, oldest first."""
    head: Json = json.loads((HERE / "head.json").read_text(encoding="utf-8"))
    listed = {path for row in ADDED.values() for path in row.split()}
    if listed ^ set(leaf_paths(head)):
        sys.exit(f"head.json and the tables disagree: {sorted(listed ^ set(leaf_paths(head)))}")
    made = {version: cut(head, with_parents(known_paths(version))) for version in VERSIONS}
    made[PREVIEW] = rename(made[PREVIEW], PREVIEW_NAMES)
    return made


def files() -> dict[Path, str]:
    """What every generated file holds."""
    made = documents()
    held = {HERE / "instance" / f"{version}.json": compact(doc) for version, doc in made.items()}
    rows = as_rows(answered(made) + told(made) + refused() + absent(made))
    cases = json.dumps(rows, ensure_ascii=False, indent=2)
    return held | {HERE / "cases.json": cases + "\n"}


def main() -> None:
    """Write the files, or compare them with what is there."""
    held = files()
    there = {
        path for path in [*(HERE / "instance").glob("*"), HERE / "cases.json"] if path.exists()
    }
    if sys.argv[1:] == ["--check"]:
        stale = [
            path
            for path in held.keys() | there
            if path not in held or path not in there or path.read_bytes() != held[path].encode()
        ]
        if stale:
            sys.exit("not as made: " + " ".join(sorted(path.name for path in stale)))
        return
    for path in there - held.keys():
        path.unlink()
    for path, text in held.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())


if __name__ == "__main__":
    main()
