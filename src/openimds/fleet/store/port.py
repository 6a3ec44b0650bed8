"""The port of a store, and the values that pass through it."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct, field

from openimds.errors import Error

API = "api"
"""The origin of a VM that the API made."""
DEFAULT = "default"
"""The origin of the VM that is served when none is configured; the first other VM replaces it."""


class StoredVm(Struct, frozen=True):
    """A VM as stored. `origin` names its manager: `api`, `file`, `document` or `default`."""

    name: str
    body: bytes
    revision: int
    origin: str


class Write(Struct, frozen=True):
    """A change to make: a new body for a name, None to remove it.

    `expected` is the revision to replace: 0 means that the VM must not exist, None that any
    revision will do. An existing VM keeps its origin unless that is in `replaced_origins`; None
    replaces every origin.
    """

    name: str
    body: bytes | None
    origin: str
    expected: int | None = None
    replaced_origins: frozenset[str] | None = None


class AppliedEntry(Struct, frozen=True):
    """The entry of a VM in a file, as last applied.

    `body` is None in a store from before such records: the text is not known.
    """

    name: str
    origin: str
    body: bytes | None


class AppliedFile(Struct, frozen=True):
    """The records to keep of a file that a write applies.

    `origin` is that of its VMs, `text` a digest of it, empty if there is none. `entries` has the
    applied body of each entry that is new or has changed, by its VM's name; None forgets one.
    """

    origin: str
    text: bytes
    entries: dict[str, bytes | None]


class Change(Struct, frozen=True):
    """A committed change: a line of the audit log and of the change feed."""

    revision: int
    at: str
    who: str
    name: str
    before: bytes | None
    after: bytes | None
    origin: str


class LogEntry(Struct, frozen=True):
    """A line in the log of scheduled events."""

    number: int
    at: str
    who: str
    event_id: str
    body: bytes


class EventBatch(Struct, frozen=True):
    """The changes of one step of scheduled events, written as a whole.

    `events` has the new body of each changed event by its id, None to remove it. `incarnations` has
    the new incarnation of each changed scope, `values` other state by a key, None to remove it. The
    `number` of a log entry to write is ignored.
    """

    events: dict[str, bytes | None] = field(default_factory=dict)
    incarnations: dict[str, int | None] = field(default_factory=dict)
    values: dict[str, bytes | None] = field(default_factory=dict)
    log_entries: tuple[LogEntry, ...] = ()


class Log(Enum):
    """A log of the store that is pruned from its oldest row on."""

    CHANGES = "changes"
    EVENTS = "events"


class Span(Struct, frozen=True):
    """The numbers of a log's oldest kept row and of its last row ever.

    If none is kept, `first` follows `last`. All rows with lower numbers than `first` were pruned.
    """

    first: int
    last: int

    @property
    def pruned(self) -> int:
        """The number of the last pruned row, 0 if none was."""
        return self.first - 1


class StoreError(Error):
    """A failure of the world: a full disk, a damaged file, a folder without permission."""


class FencedError(StoreError):
    """This opening of a store may write no longer; nothing was written.

    Another process leads, or the store is not as this one left it: open it anew.
    """


class ConflictError(Error):
    """A write that expected another revision; nothing was written."""

    def __init__(self, name: str, expected: int, met: int) -> None:
        """Keep the two revisions; 0 means that the VM did not exist."""
        self.name, self.expected, self.met = name, expected, met
        super().__init__(f"{name} is at revision {met}, not {expected}")


class Store(Protocol):
    """An engine, called from one thread at a time, never from the event loop's."""

    def get(self, name: str) -> StoredVm | None:
        """Return the VM of a name."""
        ...

    def get_many(self, names: Sequence[str]) -> list[StoredVm]:
        """Return those of these VMs that exist, in any order."""
        ...

    def page(self, after: str, limit: int) -> list[StoredVm]:
        """Return up to `limit` VMs whose names follow `after` by code points."""
        ...

    def write(
        self, writes: Sequence[Write], who: str, at: str, applied: AppliedFile | None = None
    ) -> list[Change]:
        """Make all the changes or none; return those that changed something.

        The records of an applied file are kept with the changes, or not at all.

        Raises:
            ConflictError: a revision is not the expected one.
            StoreError: the world failed; nothing was written.
        """
        ...

    def applied_entry(self, name: str) -> AppliedEntry | None:
        """Return the entry of a VM as last applied by a file."""
        ...

    def applied_entries(self, after: str, limit: int) -> list[AppliedEntry]:
        """Return up to `limit` applied entries that follow a name."""
        ...

    def applied_text(self, origin: str) -> bytes:
        """Return the digest of the text that an origin applied last, or nothing."""
        ...

    def changes(self, since: int, limit: int) -> list[Change]:
        """Return up to `limit` changes with higher numbers than `since`, oldest first."""
        ...

    def revision(self) -> int:
        """Return the number of the last change ever, 0 before the first."""
        ...

    def events(self) -> list[bytes]:
        """Return the bodies of all scheduled events, in the order of their creation."""
        ...

    def incarnations(self) -> dict[str, int]:
        """Return the incarnation of every scope that ever had an event."""
        ...

    def value(self, key: str) -> bytes | None:
        """Return the value that an event batch wrote under a key."""
        ...

    def values(self, prefix: str) -> dict[str, bytes]:
        """Return the values whose keys begin with a text, by key."""
        ...

    def write_events(self, batch: EventBatch) -> list[LogEntry]:
        """Write one step of scheduled events; return its log entries with their numbers.

        Raises:
            StoreError: the world failed; nothing was written.
        """
        ...

    def log_entries(self, since: int, limit: int) -> list[LogEntry]:
        """Return up to `limit` log entries with higher numbers than `since`, oldest first."""
        ...

    def last_log_entry(self) -> int:
        """Return the number of the last log entry ever, 0 before the first."""
        ...

    def span(self, log: Log) -> Span:
        """Return the span of a log."""
        ...

    def row_sizes(self, log: Log, first: int, last: int) -> list[tuple[int, int]]:
        """Return number and bytes of each row from `first` to `last`, oldest first."""
        ...

    def last_older(self, log: Log, date: str, after: int, until: int) -> int:
        """Return the last number of the older rows that follow `after` without a break.

        A row is older if its date is before `date` as a text. Rows up to `until` are read.
        """
        ...

    def prune(self, log: Log, until: int) -> int:
        """Delete the rows of a log up to a number; return how many were there.

        VMs, events and the records of applied files stay as they are.

        Raises:
            StoreError: the world failed; nothing was deleted.
        """
        ...

    def problem(self) -> str:
        """Return the reason why changes are refused at the moment, or nothing."""
        ...

    def close(self) -> None:
        """Release every resource."""
        ...


def check_revision(name: str, expected: int | None, stored: int) -> None:
    """Check the revision of a VM; expected None allows any, 0 no VM at all.

    Raises:
        ConflictError: it is at another one.
    """
    if expected is not None and expected != stored:
        raise ConflictError(name, expected, stored)


def origin_after(stored: str, written: str, replaced: frozenset[str] | None) -> str:
    """Return the origin of a stored VM after a write, whose `replaced_origins` are the last."""
    return written if replaced is None or stored in replaced else stored
