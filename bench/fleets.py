"""Fleets of any size, as values and as files. Their VMs live at source addresses of loopback."""

import json
from pathlib import Path
from typing import Any

_ZONES = ("1", "2", "3")
_SIZES = ("Standard_D2s_v5", "Standard_D4s_v5", "Standard_E8s_v5", "Standard_F2s_v2")


def name(number: int) -> str:
    """Return the name of a VM."""
    return f"web-{number:06d}"


def address(number: int) -> str:
    """Return the private address of a VM; every address of 127/8 may be bound on Linux.

    VM 0 lives at 127.0.0.1, whence every client comes that chooses no address.
    """
    number += 1
    return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def value(count: int) -> dict[str, Any]:
    """Return a fleet as a fleet file says it: every VM as a person would write it, and no more."""
    return {"vms": {name(number): _vm(number) for number in range(count)}}


def asked(count: int, most: int) -> list[int]:
    """Return at most so many VMs of a fleet, evenly spread."""
    step = max(1, count // most)
    return list(range(0, count, step))[:most]


def write(count: int, ending: str, folder: Path) -> Path:
    """Write a fleet file; the ending is its format."""
    path = folder / f"fleet-{count}.{ending}"
    with path.open("w", encoding="utf-8") as file:
        if ending == "json":
            json.dump(value(count), file)
        else:
            # Written by hand: dumping YAML would take longer than all the measuring.
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
