"""A wheel of deadlines: slots of time, each with the connections due in it.

A deadline that moves to later costs nothing: its slot comes up, the connection finds that its time
has not come, and files itself again. Only one that moves to earlier changes its slot.
"""

from math import ceil, inf
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """An item of a wheel; `slot` belongs to the wheel, and -1 is none."""

    slot: int


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Items by the slot of their time."""

    def __init__(self, grain_s: float) -> None:
        """Start empty; a slot spans `grain_s` seconds."""
        self._grain_s = grain_s
        self._slots: dict[int, dict[T, None]] = {}

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(map(len, self._slots.values()))

    def file(self, item: T, at_s: float) -> None:
        """Let an item come up at a time, or within a grain after it.

        An item that comes up earlier stays where it is.
        """
        slot = ceil(at_s / self._grain_s)
        if item.slot >= 0:
            if item.slot <= slot:
                return
            self.drop(item)
        item.slot = slot
        items = self._slots.get(slot)
        if items is None:
            items = self._slots[slot] = {}
        items[item] = None

    def drop(self, item: T) -> None:
        """Remove an item, if it is in a slot."""
        if item.slot >= 0:
            items = self._slots[item.slot]
            del items[item]
            if not items:
                del self._slots[item.slot]
            item.slot = -1

    @property
    def next_s(self) -> float:
        """The time of the next slot, or infinity."""
        return min(self._slots) * self._grain_s if self._slots else inf

    def due(self, now_s: float) -> list[T]:
        """Remove and return the items that have come up, the earliest first."""
        past = sorted(slot for slot in self._slots if slot * self._grain_s <= now_s)
        items = [item for slot in past for item in self._slots.pop(slot)]
        for item in items:
            item.slot = -1
        return items
