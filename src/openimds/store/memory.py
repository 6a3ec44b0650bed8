"""A store that forgets: for servers without a state directory."""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence

from msgspec.structs import replace

from openimds.store.port import Change, Happening, Moves, Store, Stored, Write, check

MOST_CHANGES = 10_000
"""How many changes are kept for the feed; memory is not an audit log."""


class MemoryStore(Store):
    """Everything in two tables, gone with the process."""

    def __init__(self) -> None:
        """Begin empty."""
        self._vms: dict[str, Stored] = {}
        self._names: list[str] = []
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._revision = 0
        self._events: dict[str, bytes] = {}
        self._incarnations: dict[str, int] = {}
        self._notes: dict[str, bytes] = {}
        self._happenings: deque[Happening] = deque(maxlen=MOST_CHANGES)
        self._last_happening = 0

    def get(self, name: str) -> Stored | None:
        """Return what is kept under a name."""
        return self._vms.get(name)

    def page(self, after: str, limit: int) -> list[Stored]:
        """Return up to `limit` VMs whose names come after `after`."""
        start = bisect_right(self._names, after) if after else 0
        return [self._vms[name] for name in self._names[start : start + limit]]

    def write(self, writes: Sequence[Write], who: str, at: str) -> list[Change]:
        """Make all the changes, or none."""
        changes: list[Change] = []
        made: dict[str, Stored | None] = {}
        for write in writes:
            name, body, origin = write.name, write.body, write.origin
            met = made[name] if name in made else self._vms.get(name)
            if check(write, met):
                number = self._revision + len(changes) + 1
                before = met.body if met else None
                changes.append(Change(number, at, who, name, before, body, origin))
                made[name] = None if body is None else Stored(name, body, number, origin)
        self._apply(made)
        self._changes.extend(changes)
        self._revision += len(changes)
        return changes

    def _apply(self, made: dict[str, Stored | None]) -> None:
        added = []
        for name, stored in made.items():
            if stored is None:
                if self._vms.pop(name, None):
                    del self._names[bisect_right(self._names, name) - 1]
                continue
            if name not in self._vms:
                added.append(name)
            self._vms[name] = stored
        if len(added) == 1:
            insort(self._names, added[0])
        elif added:
            self._names = sorted([*self._names, *added])

    def changes(self, since: int, limit: int) -> list[Change]:
        """Return up to `limit` changes after `since`, as far as they are still kept."""
        return [change for change in self._changes if change.revision > since][:limit]

    def revision(self) -> int:
        """Return the number of the last change."""
        return self._revision

    def events(self) -> list[bytes]:
        """Return the bodies of all scheduled events, in the order in which they first came."""
        return [*self._events.values()]

    def incarnations(self) -> dict[str, int]:
        """Return the incarnation of every scope that ever had an event."""
        return dict(self._incarnations)

    def note(self, key: str) -> bytes | None:
        """Return what was noted under a key."""
        return self._notes.get(key)

    def move(self, moves: Moves) -> list[Happening]:
        """Write one step of scheduled events."""
        for table, changes in ((self._events, moves.events), (self._notes, moves.notes)):
            for key, body in changes.items():
                if body is None:
                    table.pop(key, None)
                else:
                    table[key] = body
        self._incarnations |= moves.incarnations
        first = self._last_happening + 1
        made = [replace(one, number=number) for number, one in enumerate(moves.happenings, first)]
        self._happenings.extend(made)
        self._last_happening += len(made)
        return made

    def happenings(self, since: int, limit: int) -> list[Happening]:
        """Return up to `limit` happenings after `since`, as far as they are still kept."""
        return [one for one in self._happenings if one.number > since][:limit]

    def last_happening(self) -> int:
        """Return the number of the last happening."""
        return self._last_happening

    def close(self) -> None:
        """There is nothing to let go of."""
