"""The steps from present VMs to wanted ones, as values."""

from typing import Any

from openimds.interop.kubevirt import (
    MARK,
    ReconcilePlan,
    VmMark,
    VmPatch,
    VmPut,
    VmRemoval,
    WantedVm,
    node_digest,
    plan_changes,
)

PresentVm = dict[str, Any]


NODE, OTHER = "node-1", "node-2"


def mark(digest: str, network: str = "n1", node: str = NODE) -> VmMark:
    return VmMark(digest, network, node_digest(node))


def wanted(name: str, digest: str = "d1", netns: str = "cni-1", network: str = "n1") -> WantedVm:
    made = mark(digest, network)
    members = {"compute": {"tags": {MARK: made.text}}, "network": {"interface": [network]}}
    return WantedVm(name, members, made, (f"netns:{netns}",))


def present(
    name: str, digest: str = "d1", netns: str = "cni-1", revision: int = 7, node: str = NODE
) -> PresentVm:
    tags = {"tags": {MARK: mark(digest, node=node).text}} if digest else {}
    reach = {"listen": [f"netns:{netns}"]}
    return {"name": name, "revision": revision, "origin": "api", "compute": tags, "reach": reach}


def plan(
    targets: list[WantedVm], vms: list[PresentVm], *kept: str, is_whole: bool = True
) -> ReconcilePlan:
    by_name = {one.name: one for one in targets}
    return plan_changes(by_name, {*kept}, vms, node=NODE, is_whole=is_whole)


def whole(vm: WantedVm) -> dict[str, Any]:
    return {**vm.members, "reach": {"listen": [*vm.listen]}}


def test_equal_vm_needs_no_step() -> None:
    assert plan([wanted("a")], [present("a")]) == ReconcilePlan((), ())


def test_missing_vm_is_made_and_must_not_exist() -> None:
    vm = wanted("a")
    assert plan([vm], []).steps == (VmPut("a", whole(vm), 0),)


def test_other_definition_replaces_the_vm_at_its_revision() -> None:
    vm = wanted("a", "d2")
    assert plan([vm], [present("a")]).steps == (VmPut("a", whole(vm), 7),)


def test_other_pod_changes_the_reach_alone() -> None:
    steps = plan([wanted("a", netns="cni-2")], [present("a")]).steps
    assert steps == (VmPatch("a", {"reach": {"listen": ["netns:cni-2"]}}, 7),)


def test_other_cards_change_the_network_and_the_mark_alone() -> None:
    vm = present("a")
    vm["compute"]["tags"]["team"] = "web"
    target = wanted("a", network="n2")
    patch = {"network": {"interface": ["n2"]}, "compute": {"tags": {MARK: target.mark.text}}}
    assert plan([target], [vm]).steps == (VmPatch("a", patch, 7),)


def test_tags_in_an_order_of_their_own_keep_it_when_cards_change() -> None:
    tags = [{"name": "z", "value": "1"}, {"name": MARK, "value": mark("d1").text}]
    vm = present("a") | {"compute": {"tags": "", "tagsList": tags}}
    target = wanted("a", network="n2")
    (step,) = plan([target], [vm]).steps
    assert isinstance(step, VmPatch)
    listed = [tags[0], {"name": MARK, "value": target.mark.text}]
    assert step.patch["compute"] == {"tags": None, "tagsList": listed}


def test_vm_with_the_mark_of_another_node_is_never_touched() -> None:
    vms = [present("a", node=OTHER), present("b", node=OTHER)]
    assert plan([wanted("a")], vms) == ReconcilePlan((), (), ("a",))


def test_reach_that_another_has_changed_is_restored() -> None:
    vm = present("a") | {"reach": {"listen": ["netns:cni-1"], "address": ["10.0.0.4"]}}
    patch = {"reach": {"listen": ["netns:cni-1"], "address": None}}
    assert plan([wanted("a")], [vm]).steps == (VmPatch("a", patch, 7),)


def test_change_by_the_admin_api_stays() -> None:
    vm = present("a")
    vm["identities"] = {"system": True}
    vm["compute"]["tags"]["team"] = "web"
    assert plan([wanted("a")], [vm]).steps == ()


def test_marked_vm_that_is_not_wanted_is_removed_first() -> None:
    vm = wanted("b")
    steps = plan([vm], [present("a")]).steps
    assert steps == (VmRemoval("a", 7), VmPut("b", whole(vm), 0))


def test_vm_without_the_mark_is_never_touched() -> None:
    vms = [present("a", ""), present("b", "")]
    assert plan([wanted("a")], vms) == ReconcilePlan((), ("a",))


def test_kept_vm_is_not_removed() -> None:
    assert plan([], [present("a"), present("b")], "a").steps == (VmRemoval("b", 7),)


def test_nothing_is_removed_while_not_all_is_known() -> None:
    vm = wanted("b")
    steps = plan([vm], [present("a")], is_whole=False).steps
    assert steps == (VmPut("b", whole(vm), 0),)


def test_mark_is_found_in_a_list_of_tags() -> None:
    text = mark("d1").text
    tags = {"tags": f"z:1;{MARK}:{text}", "tagsList": [{"name": MARK, "value": text}]}
    assert plan([], [present("a") | {"compute": tags}]).steps == (VmRemoval("a", 7),)
