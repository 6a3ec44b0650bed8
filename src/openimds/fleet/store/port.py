"""The shape of a store, and the values that go through it."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct, field

from openimds.errors import Error


class StoredVm(Struct, frozen=True):
    """A VM as it is kept. `origin` says who manages it: `api`, `file`, `document`, `default`."""

    name: str
    body: bytes
    revision: int
    origin: str


class Write(Struct, frozen=True):
    """What shall become of one name: a new body, or None to remove it.

    `expected` is the revision that is meant to be replaced: 0 means that there must be none, None
    that it does not matter.
    """

    name: str
    body: bytes | None
    origin: str
    expected: int | None = None


class Change(Struct, frozen=True):
    """One change that was made: the line of the audit log, and the entry of the change feed."""

    revision: int
    at: str
    who: str
    name: str
    before: bytes | None
    after: bytes | None
    origin: str


class LogEntry(Struct, frozen=True):
    """Something that happened to a scheduled event: the line of a log of its own."""

    number: int
    at: str
    who: str
    event_id: str
    body: bytes


class EventBatch(Struct, frozen=True):
    """What one step of scheduled events changes; it is written as a whole.

    `events` has the new body of each event that changed, None where it is gone. `incarnations` are
    those of the scopes that changed, `notes` what else has to be known again, by a key; None
    removes one. The `number` of a happening that is to be written does not matter.
    """

    events: dict[str, bytes | None] = field(default_factory=dict)
    incarnations: dict[str, int] = field(default_factory=dict)
    values: dict[str, bytes | None] = field(default_factory=dict)
    log_entries: tuple[LogEntry, ...] = ()


class StoreError(Error):
    """The world's failure: the disk is full, the file is broken, the folder is not ours."""


class ConflictError(Error):
    """A write that expected another revision than the one it met; nothing was written."""

    def __init__(self, name: str, expected: int, met: int) -> None:
        """Keep the two revisions; 0 means that there was no such VM."""
        self.name, self.expected, self.met = name, expected, met
        super().__init__(f"{name} is at revision {met}, not {expected}")


class Store(Protocol):
    """An engine. It is called from one thread at a time, never from the event loop's."""

    def get(self, name: str) -> StoredVm | None:
        """Return what is kept under a name."""
        ...

    def page(self, after: str, limit: int) -> list[StoredVm]:
        """Return up to `limit` VMs whose names come after `after`, in the order of their names."""
        ...

    def write(self, writes: Sequence[Write], who: str, at: str) -> list[Change]:
        """Make all the changes, or none; return those that changed something.

        Raises:
            ConflictError: a revision is not the expected one.
            StoreError: the world failed.
        """
        ...

    def changes(self, since: int, limit: int) -> list[Change]:
        """Return up to `limit` changes with higher numbers than `since`, oldest first."""
        ...

    def revision(self) -> int:
        """Return the number of the last change, 0 before the first."""
        ...

    def events(self) -> list[bytes]:
        """Return the bodies of all scheduled events, in the order in which they first came."""
        ...

    def incarnations(self) -> dict[str, int]:
        """Return the incarnation of every scope that ever had an event."""
        ...

    def value(self, key: str) -> bytes | None:
        """Return what was noted under a key."""
        ...

    def write_events(self, moves: EventBatch) -> list[LogEntry]:
        """Write one step of scheduled events; return its happenings with their numbers.

        Raises:
            StoreError: the world failed; nothing was written.
        """
        ...

    def log_entries(self, since: int, limit: int) -> list[LogEntry]:
        """Return up to `limit` happenings with higher numbers than `since`, oldest first."""
        ...

    def last_log_entry(self) -> int:
        """Return the number of the last happening, 0 before the first."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


def check(write: Write, met: StoredVm | None) -> bool:
    """Tell whether a write would change what it meets.

    Raises:
        ConflictError: the revision is not the expected one.
    """
    revision = met.revision if met else 0
    if write.expected is not None and write.expected != revision:
        raise ConflictError(write.name, write.expected, revision)
    if met is None:
        return write.body is not None
    return (write.body, write.origin) != (met.body, met.origin)
