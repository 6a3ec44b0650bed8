"""A VM in the shape of a fleet file, for the store, the admin API and exports."""

from typing import Any

from msgspec import to_builtins

from openimds.facts.clouds import PUBLIC
from openimds.vm.tags import as_mapping
from openimds.vm.types import Vm


def vm_to_value(vm: Vm) -> dict[str, Any]:
    """Return a VM in the shape of a fleet file, without its name and without defaults.

    `fleet_file.parse_vm` of the result gives an equal VM.
    """
    value: dict[str, Any] = to_builtins(vm)
    del value["name"]
    if vm.cloud == PUBLIC:
        value.pop("cloud", None)
    for key in ("identities", "reach"):
        members = value.pop(key, {})
        if members:
            value[key] = {
                name: [*member] if isinstance(member, tuple) else member
                for name, member in members.items()
            }
    value |= value.pop("document", {})
    compute = value.get("compute", {})
    if "tagsList" in compute:
        tags = as_mapping(compute["tags"], compute["tagsList"])
        if tags is not None:
            del compute["tagsList"]
            compute["tags"] = tags
    return value
