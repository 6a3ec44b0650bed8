"""Fleets of any size, as values and files, with VMs at addresses of loopback."""

import json
from pathlib import Path
from typing import Any

_ZONES = ("1", "2", "3")
_SIZES = ("Standard_D2s_v5", "Standard_D4s_v5", "Standard_E8s_v5", "Standard_F2s_v2")


def name(number: int) -> str:
    """Return the name of a VM."""
    return f"web-{number:06d}"


def address(number: int) -> str:
    """Return the private address of a VM, in 127/8, where Linux binds any address.

    VM 0 is at 127.0.0.1, the source address of clients that choose none.
    """
    number += 1
    return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def unknown_address(number: int) -> str:
    """Return an address that no VM of a fleet below eight million has."""
    return f"127.200.{number >> 8}.{number & 255}"


def value(count: int, *, has_identities: bool = False) -> dict[str, Any]:
    """Return a fleet as in a file, with VMs as a person writes them.

    With `has_identities` each VM has a system-assigned identity, so it may ask for tokens.
    """
    vms = {name(number): _vm(number) for number in range(count)}
    if has_identities:
        for vm in vms.values():
            vm["identities"] = {"system": True}
    return {"vms": vms}


def evenly_spread(count: int, most: int) -> list[int]:
    """Return the numbers of at most `most` VMs of a fleet, evenly spread."""
    step = max(1, count // most)
    return list(range(0, count, step))[:most]


def write(count: int, ending: str, folder: Path, *, has_identities: bool = False) -> Path:
    """Write a fleet file; the ending is its format. YAML has no identities."""
    path = folder / f"fleet-{count}.{ending}"
    with path.open("w", encoding="utf-8") as file:
        if ending == "json":
            json.dump(value(count, has_identities=has_identities), file)
        else:
            # By hand: dumping YAML would take longer than all measurements.
            file.write("vms:\n")
            file.writelines(map(_yaml, range(count)))
    return path


def _vm(number: int) -> dict[str, Any]:
    return {
        "compute": {
            "vmSize": _SIZES[number % len(_SIZES)],
            "location": "westeurope",
            "zone": _ZONES[number % len(_ZONES)],
            "tags": {"env": "prod", "team": f"team-{number % 40}"},
        },
        "network": {
            "interface": [{"ipv4": {"ipAddress": [{"privateIpAddress": address(number)}]}}]
        },
    }


def _yaml(number: int) -> str:
    vm = _vm(number)
    compute = vm["compute"]
    return f"""\
  {name(number)}:
    compute:
      vmSize: {compute["vmSize"]}
      location: {compute["location"]}
      zone: "{compute["zone"]}"
      tags: {{env: {compute["tags"]["env"]}, team: {compute["tags"]["team"]}}}
    network:
      interface:
        - ipv4: {{ipAddress: [{{privateIpAddress: {address(number)}}}]}}
"""
