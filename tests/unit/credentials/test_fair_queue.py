"""A fair queue: its order, its bounds, and the owner that it refuses."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openimds.credentials.fair_queue import FairQueue

WAITING, PER_OWNER = 6, 4


def filled(*items: str, most_waiting: int = 99, most_per_owner: int = 99) -> FairQueue[str]:
    """Return a queue of items whose first character is the owner."""
    queue: FairQueue[str] = FairQueue(most_waiting, most_per_owner)
    for item in items:
        assert queue.put(item[0], item) is None
    return queue


def rest(queue: FairQueue[str]) -> list[str]:
    return list(iter(queue.take, None))


def test_owners_take_turns_and_keep_their_own_order() -> None:
    queue = filled("a1", "a2", "a3", "b1", "c1", "b2")
    assert rest(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(queue) == 0
    assert queue.take() is None


def test_owner_without_a_turn_in_this_lap_goes_first() -> None:
    queue = filled("a1", "a2", "b1", "b2")
    assert [queue.take(), queue.take()] == ["a1", "b1"]
    assert queue.put("c", "c1") is None
    assert queue.take() == "c1"
    # It has had its turn, so its next item waits for one of each other.
    assert queue.put("c", "c2") is None
    assert rest(queue) == ["a2", "b2", "c2"]


def test_owner_whose_lap_is_over_goes_first_again() -> None:
    queue = filled("c1", "a1", "a2", "a3", "a4")
    assert [queue.take() for _ in range(4)] == ["c1", "a1", "a2", "a3"]
    assert queue.put("c", "c2") is None
    assert rest(queue) == ["c2", "a4"]


def test_lap_ends_when_the_queue_is_empty() -> None:
    queue = filled("a1")
    assert queue.take() == "a1"
    assert queue.put("a", "a2") is None
    assert queue.put("b", "b1") is None
    assert rest(queue) == ["a2", "b1"]


def test_laps_are_remembered_for_a_bounded_number_of_owners() -> None:
    queue = filled("a1", "a2", most_waiting=2)
    assert queue.take() == "a1"
    taken = []
    for owner in "bcdef":
        assert queue.put(owner, owner) is None
        taken.append(queue.take())
    # With a, b, c and d twice as many are remembered as may wait: e and f go behind the others.
    assert taken == ["b", "c", "d", "a2", "e"]


def test_owner_at_its_own_bound_is_refused_the_new_item() -> None:
    queue = filled("a1", "a2", most_per_owner=2)
    assert queue.put("a", "a3") == "a3"
    assert queue.put("b", "b1") is None
    assert rest(queue) == ["a1", "b1", "a2"]


def test_full_queue_refuses_the_newest_item_of_the_largest() -> None:
    queue = filled("a1", "a2", "a3", "b1", most_waiting=4)
    assert queue.put("c", "c1") == "a3"
    assert rest(queue) == ["a1", "b1", "c1", "a2"]


def test_full_queue_refuses_the_largest_owners_new_item() -> None:
    queue = filled("a1", "a2", "b1", most_waiting=3)
    assert queue.put("a", "a3") == "a3"
    assert rest(queue) == ["a1", "b1", "a2"]


def test_full_queue_refuses_the_new_item_in_a_tie() -> None:
    queue = filled("a1", "a2", "b1", most_waiting=3)
    # With b2, b would hold as much as a does, and a's items have waited.
    assert queue.put("b", "b2") == "b2"
    queue = filled("a1", "b1", most_waiting=2)
    assert queue.put("c", "c1") == "c1"


def test_removed_item_leaves_its_place_to_another() -> None:
    queue = filled("a1", "a2", "b1", most_waiting=3, most_per_owner=2)
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert not queue.remove("c", "c1")
    assert queue.put("a", "a3") is None
    assert queue.remove("b", "b1")
    assert rest(queue) == ["a2", "a3"]


def test_empty_queue_has_nothing_to_drop() -> None:
    with pytest.raises(ValueError, match="empty"):
        filled().drop()


def test_cleared_queue_is_usable_again() -> None:
    queue = filled("a1", "a2", "b1")
    assert sorted(queue.clear()) == ["a1", "a2", "b1"]
    assert (len(queue), queue.largest_size, queue.size_of("a")) == (0, 0, 0)
    assert queue.put("a", "a3") is None
    assert rest(queue) == ["a3"]


STEPS = st.lists(st.tuples(st.sampled_from("abc+-!"), st.sampled_from("abcd")), max_size=60)


class Model:
    """The items that should wait, and the turns that others had meanwhile."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, int]] = []
        self._turns: dict[tuple[str, int], Counter[str]] = {}

    def sizes(self) -> Counter[str]:
        return Counter(owner for owner, _ in self.waiting)

    def oldest(self) -> list[tuple[str, int]]:
        return [next(item for item in self.waiting if item[0] == name) for name in self.sizes()]

    def take(self, item: tuple[str, int]) -> None:
        """Let an item have its turn, which has to be its owner's oldest."""
        assert item in self.oldest()
        self.waiting.remove(item)
        oldest = self.oldest()
        self._turns = {other: self._turns.get(other, Counter()) for other in oldest}
        for other in oldest:
            if other[0] != item[0]:
                self._turns[other][item[0]] += 1
                assert self._turns[other][item[0]] == 1


@given(STEPS)
def test_turns_bounds_and_sizes_hold_after_any_steps(steps: list[tuple[str, str]]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(WAITING, PER_OWNER)
    model = Model()
    for number, (step, owner) in enumerate(steps):
        sizes, waiting = model.sizes(), model.waiting
        if step == "-":
            item = queue.take()
            assert (item is None) == (not waiting)
            if item:
                model.take(item)
        elif step == "+" and waiting:
            assert queue.remove(waiting[0][0], waiting[0])
            del waiting[0]
        elif step == "!" and waiting:
            dropped = queue.drop()
            assert sizes[dropped[0]] == max(sizes.values())
            waiting.remove(dropped)
        else:
            new = (owner, number)
            refused = queue.put(owner, new)
            is_full = len(waiting) == WAITING or sizes[owner] == PER_OWNER
            assert (refused is not None) == is_full
            waiting.append(new)
            if refused:
                # The owner that is refused holds most, or has reached its own bound.
                sizes[owner] += 1
                assert sizes[refused[0]] == max(sizes.values())
                waiting.remove(refused)
        sizes = model.sizes()
        assert len(queue) == len(waiting) <= WAITING
        assert queue.largest_size == max(sizes.values(), default=0) <= PER_OWNER
        assert all(queue.size_of(name) == sizes[name] for name in "abcd")
