"""The whole names of the scopes of scheduled events, for a store of release 0.1.0.

That release named the scope of a set by the set alone, so that sets of one name in two resource
groups were one scope. A scope that splits copies its incarnation, and events follow their VMs: an
event that hits VMs of several scopes becomes one for each, of which the first keeps the id. Where a
scope shows other events than before, its incarnation rises by one, because an equal number means an
equal document. Scopes and events without a known VM get a name that no VM has.

It reads only the members that name a VM's scope: a body that the server cannot take must not
stop it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from uuid import NAMESPACE_OID, uuid5

import msgspec.json

from openimds.errors import BAD_JSON
from openimds.protocol.events.event import place_of
from openimds.vm.defaults import text_at
from openimds.vm.types import Vm

_UNKNOWN = "unknown:"
"""Before the name of 0.1.0: a scope without a known VM."""
_MEMBERS = ("name", "subscriptionId", "resourceGroupName", "vmScaleSetName", "placementGroupId")
_StoredEvent: TypeAlias = dict[str, Any]
Bodies: TypeAlias = Callable[[str], Iterable[bytes]]
"""Returns the bodies that a VM ever had, newest first, by its name."""


class WholeNames:
    """The whole names of the scopes that 0.1.0 named by their sets."""

    def __init__(self, vms: Iterable[tuple[str, bytes]], bodies: Bodies) -> None:
        """Read the VMs of a store, each with its name and its body."""
        self._bodies = bodies
        self._by_vm: dict[tuple[str, str], str | None] = {}
        """By the name of a VM and the old name of its scope; None if it was never there."""
        self._by_old_name: dict[str, set[str]] = {}
        self._changed: set[str] = set()
        """The scopes that have other events than before."""
        for name, body in vms:
            self._note(name, body)

    def renamed_events(self, rows: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Return the ids and bodies of all events, each in the scope of its VMs."""
        before: dict[str, list[object]] = {}
        after: dict[str, list[object]] = {}
        renamed: list[tuple[str, bytes]] = []
        for event_id, body in rows:
            event = _decoded(body)
            if not _is_of_set(event):
                renamed.append((event_id, body))
                continue
            before.setdefault(event["scope"], []).append(_shown(event))
            for part in self._parts(event):
                after.setdefault(part["scope"], []).append(_shown(part))
                renamed.append((part["event_id"], msgspec.json.encode(part)))
        for old, shown in before.items():
            self._changed |= {new for new in self._all_of(old) if after.get(new, []) != shown}
        return renamed

    def renamed_incarnations(self, incarnations: Mapping[str, int]) -> dict[str, int]:
        """Return the incarnations of scopes by their whole names, after `renamed_events`."""
        renamed: dict[str, int] = {}
        for old, incarnation in incarnations.items():
            if old.startswith("vm:"):
                renamed[old] = incarnation
                continue
            for new in self._all_of(old) or {_UNKNOWN + old}:
                renamed[new] = incarnation + (new in self._changed)
        return renamed

    def _parts(self, event: _StoredEvent) -> Iterable[_StoredEvent]:
        """Yield an event for each scope of its VMs.

        VMs that are unknown stay in the only scope of their set; if there are several, in none.
        """
        old = event["scope"]
        hits: dict[str, list[tuple[str, str]]] = {}
        lost: list[tuple[str, str]] = []
        for vm_name, resource in zip(event["concerned"], event["resources"], strict=True):
            new = self._of(vm_name, old)
            (lost if new is None else hits.setdefault(new, [])).append((vm_name, resource))
        scopes = self._all_of(old)
        if lost and len(scopes) == 1:
            hits.setdefault(next(iter(scopes)), []).extend(lost)
        elif lost:
            hits[_UNKNOWN + old] = lost
        for number, (new, members) in enumerate(hits.items()):
            vms, resources = zip(*members, strict=True)
            event_id = event["event_id"]
            if number:  # The same at each try: a full disk may undo the first one.
                event_id = str(uuid5(NAMESPACE_OID, f"{event_id} {new}")).upper()
            yield event | {
                "event_id": event_id,
                "scope": new,
                "concerned": vms,
                "resources": resources,
            }

    def _all_of(self, old: str) -> set[str]:
        """Return the whole names of a scope of 0.1.0."""
        return self._by_old_name.get(old, set())

    def _of(self, vm_name: str, old: str) -> str | None:
        """Return the whole name of a scope for a VM, also for a removed one."""
        key = (vm_name, old)
        if key not in self._by_vm and not any(
            self._note(vm_name, body) == old for body in self._bodies(vm_name)
        ):
            self._by_vm[key] = None
        return self._by_vm[key]

    def _note(self, vm_name: str, body: bytes) -> str:
        """Note the scope of a VM by its body; return the old name, or nothing."""
        value = _decoded(body)
        if not isinstance(value, dict):
            return ""
        vm = _vm(vm_name, value)
        old, (new, _) = _old_name(vm), place_of(vm)
        if (vm_name, old) not in self._by_vm:
            self._by_vm[vm_name, old] = new
            self._by_old_name.setdefault(old, set()).add(new)
        return old


def _shown(event: _StoredEvent) -> object:
    """Return the parts of an event that the step may change in a document."""
    return event["event_id"], tuple(event["resources"])


def _is_of_set(event: object) -> bool:
    """Tell whether this is an event of 0.1.0 in the scope of a set."""
    if not isinstance(event, dict):
        return False
    scope, vms, resources = (event.get(key) for key in ("scope", "concerned", "resources"))
    return (
        isinstance(scope, str)
        and scope.startswith(("set:", "group:"))
        and isinstance(event.get("event_id"), str)
        and isinstance(vms, list)
        and isinstance(resources, list)
        and len(vms) == len(resources) > 0
    )


def _vm(name: str, value: dict[str, object]) -> Vm:
    """Return a VM with the members that name its scope."""
    compute = value.get("compute")
    members: dict[str, object] = {}
    if isinstance(compute, dict):
        members = {key: compute[key] for key in _MEMBERS if isinstance(compute.get(key), str)}
    availability_set = value.get("availabilitySet")
    return Vm(
        name,
        document={"compute": members},
        availability_set=availability_set if isinstance(availability_set, str) else "",
    )


def _old_name(vm: Vm) -> str:
    """Return the name of a VM's scope in 0.1.0."""
    scale_set, group = (
        text_at(vm, "compute.vmScaleSetName"),
        text_at(vm, "compute.placementGroupId"),
    )
    if scale_set:
        return f"group:{scale_set}/{group}".lower()
    if vm.availability_set:
        return f"set:{vm.availability_set}".lower()
    return f"vm:{vm.name}"


def _decoded(body: object) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a body, or None if it is no JSON."""
    try:
        return msgspec.json.decode(body)  # type: ignore[call-overload]
    except (*BAD_JSON, TypeError):
        return None
