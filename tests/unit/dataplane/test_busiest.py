"""The busiest VMs have counters of their own, and memory is bounded."""

import pytest

from openimds.dataplane import busiest
from openimds.dataplane.busiest import WINDOW_S, BusiestVms


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busiest, "MOST_COUNTED", 2)
    monkeypatch.setattr(busiest, "MOST_CANDIDATES", 4)


def requests(vms: BusiestVms) -> dict[str, int]:
    return {name: count.requests for name, count in vms.counted.items()}


def windows(vms: BusiestVms, *ends: dict[str, int]) -> None:
    """Count requests by VM in one window after the other."""
    vms.compare(0.0)
    for number, by_name in enumerate(ends, 1):
        for name, count in by_name.items():
            vms.add(name, count, 0)
        vms.compare(number * WINDOW_S)


def test_first_vms_are_counted_and_later_ones_summed() -> None:
    vms = BusiestVms()
    for name in "abcd":
        vms.add(name, 2, 1)
    assert requests(vms) == {"a": 2, "b": 2}
    assert (vms.others.requests, vms.others.refused) == (4, 2)
    assert vms.counted["a"].refused == 1


def test_busier_vm_takes_the_place_of_the_quietest() -> None:
    vms = BusiestVms()
    windows(vms, {"a": 9, "b": 2, "c": 5})
    assert requests(vms) == {"a": 9, "c": 0}
    vms.add("c", 3, 0)
    vms.add("b", 1, 0)
    assert requests(vms) == {"a": 9, "c": 3}
    assert vms.others.requests == 6  # All were counted once: 9 + 3 + 6, and 2 of b before.


def test_requests_of_one_window_add_up_for_a_place() -> None:
    vms = BusiestVms()
    vms.compare(0.0)
    for name, count in (("a", 9), ("b", 2), ("c", 2), ("c", 2)):
        vms.add(name, count, 0)
    vms.compare(WINDOW_S)
    assert requests(vms) == {"a": 9, "c": 0}


def test_equally_busy_vm_takes_no_place() -> None:
    vms = BusiestVms()
    windows(vms, {"a": 3, "b": 3, "c": 3, "d": 3})
    assert requests(vms) == {"a": 3, "b": 3}


def test_vm_that_was_busy_long_ago_is_replaced() -> None:
    vms = BusiestVms()
    windows(vms, {"a": 100, "b": 9}, *[{"c": 5, "b": 9}] * 6)
    assert requests(vms).keys() == {"b", "c"}


def test_nothing_is_replaced_within_a_window() -> None:
    vms = BusiestVms()
    windows(vms, {})
    for name, count in {"a": 1, "b": 1, "c": 9}.items():
        vms.add(name, count, 0)
    vms.compare(WINDOW_S * 1.5)
    assert requests(vms).keys() == {"a", "b"}


def test_churn_of_vms_grows_no_memory() -> None:
    vms = BusiestVms()
    for window in range(20):
        windows(vms, {f"vm-{window}-{number}": number + 1 for number in range(50)})
        assert len(vms.counted) == 2
        assert len(vms._candidates) <= 4
    total = sum(requests(vms).values()) + vms.others.requests
    assert total <= 20 * sum(range(1, 51))
