"""A VM as people write it: the inverse of `fleet.vm`, for the store, the admin API and exports."""

from openimds.facts.clouds import PUBLIC
from openimds.vm.tags import as_said
from openimds.vm.types import IdentityDetail, Vm


def vm_to_value(vm: Vm) -> dict[str, object]:
    """Return what was said of a VM, in the shape of a fleet file, without its name.

    Reading the result with `fleet.vm` gives an equal VM.
    """
    parts: dict[str, object] = {
        "cloud": vm.cloud if vm.cloud != PUBLIC else None,
        "identities": _identities(vm) or None,
        "availabilitySet": vm.availability_set or None,
        "loadBalancer": vm.load_balancer,
        "attested": vm.attested,
        "classic": vm.classic or None,
        "reach": _reach(vm) or None,
    }
    document = dict(vm.document)
    if isinstance(compute := document.get("compute"), dict):
        document["compute"] = as_said(compute)
    return {**document, **{key: part for key, part in parts.items() if part is not None}}


def _identities(vm: Vm) -> dict[str, object]:
    held = vm.identities
    parts: dict[str, object] = {
        "system": held.system,
        "user": [*held.user],
        "tenantId": held.tenant_id,
        "source": held.source,
        "details": {name: _detail(one) for name, one in held.details.items()},
    }
    return {key: part for key, part in parts.items() if part}


def _detail(one: IdentityDetail) -> dict[str, object]:
    parts = {"clientId": one.client_id, "principalId": one.principal_id, "source": one.source}
    return {key: part for key, part in parts.items() if part}


def _reach(vm: Vm) -> dict[str, object]:
    members: dict[str, object] = {}
    if vm.reach.address is not None:
        members["address"] = [*vm.reach.address]
    parts: dict[str, object] = {
        "listen": [*vm.reach.listen],
        "interface": vm.reach.interface,
        "mac": vm.reach.mac,
    }
    return {**members, **{key: part for key, part in parts.items() if part}}
