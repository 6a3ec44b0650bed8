"""One VM in the fleet index: its limits, and the VMs that stay unpacked."""

from openimds.facts.versions import catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.vm_entry import MOST_RECENT, Allowance, VmEntry
from openimds.vm.types import Reach, Vm


def entry_for(vm: Vm) -> VmEntry[object]:
    fleet: FleetIndex[object] = FleetIndex(catalog(), 1 << 20)
    fleet.apply(fleet.plan([vm]))
    return fleet.by_name[vm.name]


def test_entry_returns_its_vm() -> None:
    vm = Vm("a", document={"compute": {"zone": "1"}}, reach=Reach(("10.0.0.4",), ("unix:/x",)))
    entry = entry_for(vm)
    assert entry.vm == vm
    assert entry.vm.document == {"compute": {"zone": "1"}}


def test_only_the_most_recent_vms_stay_unpacked() -> None:
    entries = [entry_for(Vm(f"vm-{n}")) for n in range(MOST_RECENT + 1)]
    first, again = entries[0].subject(catalog()), entries[0].subject(catalog())
    assert again.vm is first.vm
    assert again.documents is first.documents
    for entry in entries[1:]:
        entry.subject(catalog())
    later = entries[0].subject(catalog())
    assert later.vm is not first.vm
    assert later.documents is not first.documents


def test_limits_are_counted_per_vm_and_class() -> None:
    limits = {"general": Allowance(2), "identity": Allowance(1, 3)}
    first, other = entry_for(Vm("a")), entry_for(Vm("b"))
    assert [first.grants("general", limits, 0.0) for _ in range(3)] == [True, True, False]
    assert [first.grants("identity", limits, 0.0) for _ in range(4)] == [True, True, True, False]
    assert other.grants("general", limits, 0.0)
    assert [first.grants("general", limits, at) for at in (0.9, 1.0)] == [False, True]


def test_class_without_allowance_is_not_limited() -> None:
    entry = entry_for(Vm("a"))
    assert all(entry.grants("general", {}, 0.0) for _ in range(100))
