"""The document and the status of Azure Arc's agent, from a VM."""

from typing import Any

import msgspec.json

from openimds.facts.arc_agent import AGENT_VERSION, COMPUTE, CONNECTED, PRODUCTS, PROVIDER
from openimds.facts.document import FIELDS
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

_FROM_VM = ("azEnvironment", "location", "name", "resourceGroupName", "subscriptionId", "vmId")
_SINCE = {
    name: min(row.since for row in FIELDS if row.path.split(".")[1].removesuffix("[]") == name)
    for name in COMPUTE
}
"""The first api-version of each member at IMDS."""


def document(vm: Vm, version: str) -> dict[str, object]:
    """Return the agent's instance document at an api-version."""
    text = {name: text_at(vm, f"compute.{name}") for name in _FROM_VM}
    system = text_at(vm, "compute.osType").lower()
    written: Any = vm.document.get("compute") or {}
    subscription, group = text["subscriptionId"], text["resourceGroupName"]
    values: dict[str, object] = {
        **text,
        "osType": system,
        "plan": {"name": "", "product": "", "publisher": ""},
        "publicKeys": None,
        "resourceId": f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{PROVIDER}/"
        + text["name"],
        "securityProfile": {"secureBootEnabled": "", "virtualTpmEnabled": ""},
        "sku": written.get("sku") or PRODUCTS.get(system, ""),
        "storageProfile": {},
        "tags": text_at(vm, "compute.tags"),
        "tagsList": written.get("tagsList") or [],
        "version": written.get("version") or AGENT_VERSION,
    }
    compute = {name: values.get(name, "") for name in COMPUTE if _SINCE[name] <= version}
    return {"compute": compute, "network": {}}


def status() -> bytes:
    """Return the body of the agent's status."""
    return msgspec.json.encode({"status": CONNECTED})
