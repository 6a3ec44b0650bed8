"""Write a VM in the shape of a fleet file."""

from typing import Any

import msgspec.json
from msgspec import to_builtins

from openimds.facts.clouds import PUBLIC
from openimds.vm.tags import as_mapping
from openimds.vm.types import Vm

_encode = msgspec.json.Encoder(order="sorted").encode


def encode_vm(vm: Vm) -> bytes:
    """Encode a VM as JSON in the shape of a fleet file.

    The name and the defaults are left out. `fleet_file.parse_vm` of the decoded result gives an
    equal VM; equal VMs have equal bytes.
    """
    value: dict[str, Any] = to_builtins(vm)
    del value["name"]
    if vm.cloud == PUBLIC:
        value.pop("cloud", None)
    for key in ("identities", "reach"):
        if not value.get(key):
            value.pop(key, None)
    value |= value.pop("document", {})
    compute = value.get("compute", {})
    if compute.get("tagsList") is not None:
        tags = as_mapping(compute["tags"], compute["tagsList"])
        if tags is not None:
            del compute["tagsList"]
            compute["tags"] = tags
    return _encode(value)


def vm_to_value(vm: Vm) -> dict[str, Any]:
    """Return a VM in the shape of a fleet file, in plain values; see `encode_vm`."""
    value: dict[str, Any] = msgspec.json.decode(encode_vm(vm))
    return value
