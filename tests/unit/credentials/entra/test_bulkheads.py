"""Bulkheads: threads by tenant, turns, and the tenant that is refused."""

from openimds.credentials.entra import bulkheads as room
from openimds.credentials.entra.bulkheads import (
    MOST_FAILING,
    MOST_PER_TENANT,
    MOST_PER_VM,
    MOST_WAITING,
    SHARE_PER_TENANT,
    THREADS,
    Bulkheads,
)


def filled(*fetches: str, most_waiting: int = 999, most_per_vm: int = 99) -> Bulkheads[str]:
    """Return bulkheads with fetches: the first character is the tenant, the second the VM."""
    bulkheads: Bulkheads[str] = Bulkheads(most_waiting, most_per_vm)
    for fetch in fetches:
        assert bulkheads.put(fetch[0], fetch[1], fetch) is None
    return bulkheads


def crowd(tenant: str, count: int) -> list[str]:
    """Return fetches of as many VMs of a tenant."""
    return [f"{tenant}{chr(97 + number)}" for number in range(count)]


def taken(bulkheads: Bulkheads[str]) -> list[str]:
    """Start as many fetches as there are threads for."""
    return list(iter(bulkheads.take, None))


def test_lone_tenant_gets_its_bound_of_threads() -> None:
    bulkheads = filled(*crowd("a", 20))
    assert len(taken(bulkheads)) == MOST_PER_TENANT
    assert len(bulkheads) == 20 - MOST_PER_TENANT
    bulkheads.end("a")
    assert len(taken(bulkheads)) == 1


def test_eight_tenants_that_hang_leave_threads_to_a_ninth() -> None:
    hanging = "abcdefgh"
    bulkheads = filled()
    for tenant in hanging:
        for fetch in crowd(tenant, 20):
            bulkheads.put(tenant, fetch[1], fetch)
            # The worst order: each tenant takes all it can before the next one asks.
            taken(bulkheads)
    for fetch in crowd("i", 20):
        assert bulkheads.put("i", fetch[1], fetch) is None
    assert taken(bulkheads) == crowd("i", SHARE_PER_TENANT)


def test_threads_in_all_are_bounded() -> None:
    tenants = "".join(map(chr, range(97, 97 + THREADS)))
    bulkheads = filled(*(fetch for tenant in tenants for fetch in crowd(tenant, 3)))
    assert len(taken(bulkheads)) == THREADS
    bulkheads.end("a")
    assert len(taken(bulkheads)) == 1


def test_tenants_and_their_vms_take_turns() -> None:
    bulkheads = filled("ax1", "ax2", "ay1", "bx1", "bx2", "cx1")
    assert taken(bulkheads) == ["ax1", "bx1", "cx1", "ay1", "bx2", "ax2"]


def test_failing_tenant_gets_one_thread_until_it_succeeds() -> None:
    bulkheads = filled(*crowd("a", 6))
    bulkheads.judge("a", has_failed=True)
    assert len(taken(bulkheads)) == 1
    bulkheads.end("a")
    bulkheads.judge("a", has_failed=True)
    assert len(taken(bulkheads)) == 1
    bulkheads.end("a")
    bulkheads.judge("a", has_failed=False)
    assert len(taken(bulkheads)) == 4


def test_failing_tenants_get_half_of_the_threads_together() -> None:
    tenants = "".join(map(chr, range(97, 97 + THREADS)))
    bulkheads = filled(*(fetch for tenant in tenants for fetch in crowd(tenant, 3)))
    for tenant in tenants:
        bulkheads.judge(tenant, has_failed=True)
    assert len(taken(bulkheads)) == THREADS // 2
    assert bulkheads.put("A", "x", "Ax") is None
    assert taken(bulkheads) == ["Ax"]


def test_failing_tenants_are_remembered_up_to_a_bound() -> None:
    bulkheads = filled("ax", "ay", "bx", "by")
    for number in range(MOST_FAILING - 1):
        bulkheads.judge(str(number), has_failed=True)
    bulkheads.judge("a", has_failed=True)
    bulkheads.judge("b", has_failed=True)
    # "0" is forgotten, and its judgement with it.
    assert bulkheads.put("0", "x", "0x") is None
    assert bulkheads.put("0", "y", "0y") is None
    assert taken(bulkheads) == ["ax", "bx", "0x", "0y"]


def test_full_queue_refuses_the_largest_vm_of_the_largest_tenant() -> None:
    bulkheads = filled("ax1", "ax2", "ay1", "bx1", most_waiting=4)
    assert bulkheads.put("c", "x", "cx1") == "ax2"
    assert len(bulkheads) == 4
    assert taken(bulkheads) == ["ax1", "bx1", "cx1", "ay1"]


def test_full_queue_refuses_the_largest_tenants_new_fetch() -> None:
    bulkheads = filled("ax1", "ax2", "bx1", most_waiting=3)
    # Within the tenant, a smaller VM still gets the place of a larger one.
    assert bulkheads.put("a", "x", "ax3") == "ax3"
    bulkheads = filled("ax1", "ax2", "ax3", most_waiting=3)
    assert bulkheads.put("a", "y", "ay1") == "ax3"
    assert taken(bulkheads) == ["ax1", "ay1", "ax2"]


def test_full_queue_refuses_the_new_tenant_in_a_tie() -> None:
    bulkheads = filled("ax1", "bx1", most_waiting=2)
    assert bulkheads.put("c", "x", "cx1") == "cx1"
    assert len(bulkheads) == 2
    assert taken(bulkheads) == ["ax1", "bx1"]


def test_vm_at_its_bound_is_refused_also_in_a_full_queue() -> None:
    bulkheads = filled("ax1", "bx1", "bx2", "by1", "by2", most_waiting=5, most_per_vm=2)
    assert bulkheads.put("b", "x", "bx3") == "bx3"
    bulkheads = filled("ax1", "bx1", "by1", "bz1", most_waiting=4, most_per_vm=1)
    assert bulkheads.put("a", "x", "ax2") == "ax2"
    assert len(bulkheads) == 4


def test_removed_fetch_leaves_its_place_to_another() -> None:
    bulkheads = filled("ax1", "bx1", most_waiting=2)
    assert bulkheads.remove("a", "x", "ax1")
    assert not bulkheads.remove("a", "x", "ax1")
    assert not bulkheads.remove("b", "y", "bx1")
    assert bulkheads.put("c", "x", "cx1") is None
    assert taken(bulkheads) == ["bx1", "cx1"]


def test_cleared_tenant_leaves_the_others_waiting() -> None:
    bulkheads = filled("ax1", "ay1", "bx1")
    assert sorted(bulkheads.clear("a")) == ["ax1", "ay1"]
    assert bulkheads.clear("c") == []
    assert len(bulkheads) == 1
    assert taken(bulkheads) == ["bx1"]


def test_bounds_admit_a_crowd_within_azures_limits() -> None:
    bulkheads: Bulkheads[int] = Bulkheads()
    vms = MOST_WAITING // 5
    assert all(bulkheads.put("a", str(number % vms), number) is None for number in range(5 * vms))
    assert bulkheads.put("b", "quiet", -1) is None
    loud: Bulkheads[int] = Bulkheads()
    assert [loud.put("a", "x", number) for number in range(MOST_PER_VM + 1)].count(None) == (
        MOST_PER_VM
    )
    assert 8 * SHARE_PER_TENANT + 2 * (MOST_PER_TENANT - SHARE_PER_TENANT) < room.THREADS
