"""A queue of waiting work that is fair to the owners of the work."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by owner: owners take turns, and the items of one owner keep their order.

    While an item is the oldest of its owner, each other owner has at most one turn. An owner
    without a turn in the current lap goes first: one that asks seldom hardly waits, however many
    others have items waiting all the time.

    An operation takes the same time however many owners wait. Not thread-safe.
    """

    def __init__(self, most_waiting: int, most_per_owner: int) -> None:
        """Hold at most so many items in all, and of one owner."""
        self._most_waiting, self._most_per_owner = most_waiting, most_per_owner
        # Beyond so many owners of a lap, the others go without precedence.
        self._most_remembered = 2 * most_waiting
        self._size = 0
        # The order of these dictionaries is that of the turns. An owner without items stays in
        # `_lap` for the rest of the lap in which it has had its turn.
        self._new: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._lap: OrderedDict[Hashable, deque[T]] = OrderedDict()
        # The owners of 0, 1, 2 … items as far as needed, earlier ones of as many items first.
        self._by_size: list[OrderedDict[Hashable, None]] = [OrderedDict()]
        self._largest = 0

    def __len__(self) -> int:
        """Return the number of waiting items."""
        return self._size

    def size_of(self, owner: Hashable) -> int:
        """Return the number of an owner's items."""
        return len(self._items(owner) or ())

    def put(self, owner: Hashable, item: T) -> T | None:
        """Add an item; return the one that is refused instead, or None.

        An owner at its own bound is refused the new item. In a full queue, see `exchange`.
        """
        if self.size_of(owner) >= self._most_per_owner:
            return item
        if self._size >= self._most_waiting:
            return self.exchange(owner, item)
        self._add(owner, item)
        return None

    def exchange(self, owner: Hashable, item: T) -> T:
        """Add an item in place of another, and return the one that is refused.

        The owner that holds most is refused: it loses the newest of its items. The new item counts,
        and in a tie it is the one to go, because others have waited.
        """
        if self._largest <= self.size_of(owner) + 1:
            return item
        refused = self.drop()
        self._add(owner, item)
        return refused

    def take(self) -> T | None:
        """Remove and return the next item, or None if none waits."""
        if not self._size:
            return None
        owner, items = (self._new or self._lap).popitem(last=False)
        while not items:  # That owner's lap is over.
            owner, items = self._lap.popitem(last=False)
        item = items.popleft()
        self._lap[owner] = items  # Behind all others.
        self._resize(owner, len(items) + 1, len(items))
        return item

    def remove(self, owner: Hashable, item: T) -> bool:
        """Remove one item, and tell whether it was waiting."""
        items = self._items(owner)
        if items is None or item not in items:
            return False
        items.remove(item)
        self._shrink(owner, items)
        return True

    @property
    def largest_size(self) -> int:
        """The number of items of the owner that holds most."""
        return self._largest

    def drop(self) -> T:
        """Remove and return the newest item of the owner that holds most.

        Raises:
            ValueError: no item waits.
        """
        if not self._size:
            raise ValueError("the queue is empty")
        owner = next(iter(self._by_size[self._largest]))
        items = self._items(owner)
        assert items
        item = items.pop()
        self._shrink(owner, items)
        return item

    def clear(self) -> list[T]:
        """Remove and return all items."""
        return list(iter(self.take, None))

    def _add(self, owner: Hashable, item: T) -> None:
        items = self._items(owner)
        if items is None:
            is_first = len(self._lap) < self._most_remembered
            items = (self._new if is_first else self._lap)[owner] = deque()
        items.append(item)
        self._resize(owner, len(items) - 1, len(items))

    def _items(self, owner: Hashable) -> deque[T] | None:
        items = self._new.get(owner)
        return self._lap.get(owner) if items is None else items

    def _shrink(self, owner: Hashable, items: deque[T]) -> None:
        if not items:
            self._new.pop(owner, None)
        self._resize(owner, len(items) + 1, len(items))

    def _resize(self, owner: Hashable, before: int, after: int) -> None:
        self._size += after - before
        self._by_size[before].pop(owner, None)
        if after:
            if after == len(self._by_size):  # Sizes change by one.
                self._by_size.append(OrderedDict())
            self._by_size[after][owner] = None
            self._largest = max(self._largest, after)
        elif not self._size:
            self._lap.clear()  # Nobody waits for the end of the lap.
        if not self._by_size[self._largest]:
            self._largest -= bool(self._largest)
