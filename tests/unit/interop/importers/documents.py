"""Inputs of other tools, and the documents that they give."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openimds.interop.importers import ImportedVm, read
from openimds.vm.defaults import complete
from openimds.vm.fleet_file import parse_vm

INPUTS = Path(__file__).with_name("inputs")
NAMES = sorted(path.stem for path in INPUTS.glob("*.json"))
GROUP = "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/lab"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
NETWORK = f"{GROUP}/providers/Microsoft.Network"


def load(name: str) -> Any:
    """Return one of the inputs beside this file."""
    return json.loads((INPUTS / f"{name}.json").read_text())


def unread(value: object) -> dict[str, tuple[str, str]]:
    """Return the expression and reason of each unread value of all VMs, by path."""
    rows = [row for one in read(value) for row in one.unread]
    return {path: (expression, reason) for path, expression, reason in rows}


def found(value: object) -> dict[str, ImportedVm]:
    """Return the imported VMs of a value by name."""
    return {one.name: one for one in read(value)}


def document(one: ImportedVm) -> dict[str, Any]:
    """Return the whole document of an imported VM."""
    return complete(parse_vm(one.name, one.definition))


def a_vm(**members: object) -> dict[str, object]:
    """Return the least output of `az` for a VM, with more members."""
    return {
        "id": f"{COMPUTE}/virtualMachines/one",
        "name": "one",
        "type": "Microsoft.Compute/virtualMachines",
        **members,
    }


def nics(*names: str) -> dict[str, object]:
    """Return the network profile of a VM with these interfaces."""
    ids = [{"id": f"{NETWORK}/networkInterfaces/{name}"} for name in names]
    return {"networkInterfaces": ids}


def a_nic(name: str, *configurations: Mapping[str, object], **members: object) -> dict[str, object]:
    """Return an interface as `az network nic show` prints it."""
    return {
        "id": f"{NETWORK}/networkInterfaces/{name}",
        "type": "Microsoft.Network/networkInterfaces",
        "ipConfigurations": [*configurations],
        **members,
    }


def only(value: object) -> ImportedVm:
    """Return the only VM of a value."""
    (one,) = read(value)
    return one


def compute(value: object) -> dict[str, Any]:
    """Return `compute` of the whole document of the only VM."""
    answer: dict[str, Any] = document(only(value))["compute"]
    return answer


def interfaces(value: object) -> list[dict[str, Any]]:
    """Return the interfaces in the definition of the only VM."""
    network = only(value).definition.get("network", {})
    assert isinstance(network, dict)
    answer: list[dict[str, Any]] = network.get("interface", [])
    return answer
