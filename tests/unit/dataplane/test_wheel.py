"""The wheel of deadlines: items come up in their time, once, and leave nothing behind."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from openimds.dataplane.wheel import Wheel


class Item:
    slot = -1


def test_item_comes_up_at_its_time_and_within_a_grain() -> None:
    wheel: Wheel[Item] = Wheel(0.5)
    on_time, later = Item(), Item()
    wheel.file(on_time, 10.0)
    wheel.file(later, 10.1)
    assert [wheel.due(9.99), wheel.due(10.0), wheel.due(10.49), wheel.due(10.5)] == [
        [],
        [on_time],
        [],
        [later],
    ]


def test_earlier_time_replaces_a_later_one_and_not_the_reverse() -> None:
    wheel: Wheel[Item] = Wheel(0.5)
    item = Item()
    for at_s in (120.0, 10.0, 60.0):
        wheel.file(item, at_s)
    assert (len(wheel), wheel.next_s) == (1, 10.0)
    assert wheel.due(10.0) == [item]
    assert (len(wheel), wheel.next_s, item.slot) == (0, inf, -1)


def test_dropped_item_does_not_come_up() -> None:
    wheel: Wheel[Item] = Wheel(0.5)
    item = Item()
    wheel.file(item, 1)
    wheel.drop(item)
    wheel.drop(item)
    assert (wheel.due(inf), len(wheel)) == ([], 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 100), st.booleans())))
def test_items_come_up_once_and_in_order(steps: list[tuple[int, float, bool]]) -> None:
    wheel: Wheel[Item] = Wheel(0.5)
    items = [Item() for _ in range(5)]
    earliest: dict[Item, float] = {}
    for number, at_s, is_filed in steps:
        item = items[number]
        if is_filed:
            wheel.file(item, at_s)
            earliest[item] = min(at_s, earliest.get(item, inf))
        else:
            wheel.drop(item)
            earliest.pop(item, None)
    for tick in range(202):
        for item in wheel.due(tick / 2):
            assert earliest.pop(item) <= tick / 2 < earliest.get(item, inf)
    assert earliest == {}
