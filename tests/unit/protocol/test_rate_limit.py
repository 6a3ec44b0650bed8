import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.protocol.rate_limit import Window, window


def test_one_instant_grants_as_many_as_the_rate() -> None:
    counted = window("general")
    assert [counted.grants(10.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_refused_request_does_not_count() -> None:
    counted = Window(2, 2)
    assert [counted.grants(at) for at in (0.0, 0.5, 0.9, 0.95, 1.0)] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_the_window_slides_with_each_grant() -> None:
    counted = Window(2, 2)
    granted = [at for at in (0.0, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0) if counted.grants(at)]
    assert granted == [0.0, 0.75, 1.0, 1.75, 2.0]


def test_a_larger_burst_keeps_the_rate_over_its_longer_window() -> None:
    counted = window("general", 5, 13)
    assert sum(counted.grants(0.0) for _ in range(20)) == 13
    assert not counted.grants(2.59)
    assert counted.grants(2.6)


@pytest.mark.parametrize("limit, least", [("general", 5), ("identity", 20)])
def test_the_classes_have_the_documented_rates(limit: str, least: int) -> None:
    counted = window(limit)
    assert sum(counted.grants(0.0) for _ in range(100)) == least


@given(
    st.lists(st.floats(0, 3, allow_nan=False), max_size=200),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_no_window_ever_holds_more_than_the_burst(gaps: list[float], rate: int, burst: int) -> None:
    counted = Window(rate, burst)
    now_s = 0.0
    granted: list[float] = []
    for gap in gaps:
        now_s += gap / rate
        if counted.grants(now_s):
            granted.append(now_s)
    for first, last in zip(granted, granted[burst:], strict=False):
        assert last - first >= burst / rate


@given(st.lists(st.floats(0, 1, allow_nan=False), max_size=100))
def test_the_limit_refuses_only_when_its_window_is_full(gaps: list[float]) -> None:
    counted = Window(5, 5)
    now_s = 0.0
    granted: list[float] = []
    for gap in gaps:
        now_s += gap
        in_window = [at for at in granted if now_s - at < 1.0]
        is_granted = counted.grants(now_s)
        assert is_granted == (len(in_window) < 5)
        if is_granted:
            granted.append(now_s)


def test_refunded_grant_does_not_count() -> None:
    counted = Window(2, 2)
    assert counted.grants(0.0)
    counted.refund()
    assert [counted.grants(at) for at in (0.1, 0.2, 0.3)] == [True, True, False]
    counted.refund()
    assert [counted.grants(at) for at in (0.4, 0.5, 1.2)] == [True, False, True]
