"""The statements of a write: a few for any number of rows."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import psycopg
from msgspec.structs import replace

from openimds.fleet.store.port import (
    AppliedFile,
    Change,
    EventBatch,
    LogEntry,
    StoredVm,
    Write,
    check_revision,
    origin_after,
)

_Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
_T = TypeVar("_T")

_ROWS = 1000
"""So many rows are sent at a time: the engine ends a writer that is silent for `session.IDLE_S`."""
_REMOVE_EVENTS = "DELETE FROM event WHERE id = ANY(%s)"
_PUT_EVENTS = """
    INSERT INTO event (id, body)
    SELECT id, body FROM unnest(%s::text[], %s::bytea[]) WITH ORDINALITY AS new (id, body, place)
    ORDER BY place
    ON CONFLICT (id) DO UPDATE SET body = excluded.body
"""
_REMOVE_SCOPES = "DELETE FROM scope WHERE name = ANY(%s)"
_PUT_SCOPES = """
    INSERT INTO scope (name, incarnation)
    SELECT * FROM unnest(%s::text[], %s::bigint[])
    ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation
"""
_REMOVE_VALUES = "DELETE FROM note WHERE key = ANY(%s)"
_PUT_VALUES = """
    INSERT INTO note (key, body)
    SELECT * FROM unnest(%s::text[], %s::bytea[])
    ON CONFLICT (key) DO UPDATE SET body = excluded.body
"""


def write_vms(
    connection: _Connection, writes: Sequence[Write], who: str, at: str, last: int
) -> list[Change]:
    """Make changes of VMs, numbered from the one after `last`; return those that change something.

    Raises:
        ConflictError: a revision is not the expected one.
        psycopg.Error: the engine failed.
    """
    changes: list[Change] = []
    for first in range(0, len(writes), _ROWS):
        part = writes[first : first + _ROWS]
        changes += _write_part(connection, part, who, at, last + len(changes))
    return changes


def _write_part(
    connection: _Connection, writes: Sequence[Write], who: str, at: str, last: int
) -> list[Change]:
    names = [write.name for write in writes]
    rows = connection.execute(
        "SELECT name, body, revision, origin FROM vm WHERE name = ANY(%s)", (names,)
    )
    stored: dict[str, StoredVm | None] = {row[0]: StoredVm(*row) for row in rows}
    changes: list[Change] = []
    for write in writes:
        vm = stored.get(write.name)
        check_revision(write.name, write.expected, vm.revision if vm else 0)
        before, origin = None, write.origin
        if vm:
            before, origin = vm.body, origin_after(vm.origin, origin, write.replaced_origins)
        if write.body == before and (vm is None or origin == vm.origin):
            continue
        number = last + len(changes) + 1
        changes.append(Change(number, at, who, write.name, before, write.body, origin))
        stored[write.name] = None
        if write.body is not None:
            stored[write.name] = StoredVm(write.name, write.body, number, origin)
    if changes:
        _store(connection, changes, stored)
    return changes


def _store(
    connection: _Connection, changes: Sequence[Change], stored: dict[str, StoredVm | None]
) -> None:
    """Store changes, and the VMs that they leave."""
    connection.execute(
        "INSERT INTO change (revision, at, who, name, before, after, origin) "
        "SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], "
        "%b::bytea[], %b::bytea[], %s::text[])",
        [
            [getattr(change, column) for change in changes]
            for column in ("revision", "at", "who", "name", "before", "after", "origin")
        ],
    )
    names = dict.fromkeys(change.name for change in changes)
    kept = [vm for name in names if (vm := stored[name])]
    removed = [name for name in names if stored[name] is None]
    if removed:
        connection.execute("DELETE FROM vm WHERE name = ANY(%s)", (removed,))
    if not kept:
        return
    connection.execute(
        "INSERT INTO vm (name, body, revision, origin) "
        "SELECT * FROM unnest(%s::text[], %b::bytea[], %s::bigint[], %s::text[]) "
        "ON CONFLICT (name) DO UPDATE SET body = excluded.body, revision = excluded.revision, "
        "origin = excluded.origin",
        [[getattr(vm, column) for vm in kept] for column in ("name", "body", "revision", "origin")],
    )


def write_applied(connection: _Connection, applied: AppliedFile) -> None:
    """Keep the records of an applied file.

    Raises:
        psycopg.Error: the engine failed.
    """
    bodies, removed = _split(applied.entries)
    connection.execute(
        "DELETE FROM applied_entry WHERE origin = %s AND name = ANY(%s)",
        (applied.origin, removed),
    )
    rows = [*bodies.items()]
    for first in range(0, len(rows), _ROWS):
        names, texts = zip(*rows[first : first + _ROWS], strict=True)
        connection.execute(
            "INSERT INTO applied_entry (name, origin, body) "
            "SELECT name, %s, body FROM unnest(%s::text[], %b::bytea[]) AS new (name, body) "
            "ON CONFLICT (name) DO UPDATE SET origin = excluded.origin, body = excluded.body",
            (applied.origin, [*names], [*texts]),
        )
    connection.execute(
        "INSERT INTO applied_file (origin, text) VALUES (%s, %s) "
        "ON CONFLICT (origin) DO UPDATE SET text = excluded.text",
        (applied.origin, applied.text),
    )


def write_batch(connection: _Connection, batch: EventBatch, last: int) -> list[LogEntry]:
    """Write one step of scheduled events; return its log entries, numbered after `last`.

    Raises:
        psycopg.Error: the engine failed.
    """
    for rows, remove, put in (
        (batch.events, _REMOVE_EVENTS, _PUT_EVENTS),
        (batch.incarnations, _REMOVE_SCOPES, _PUT_SCOPES),
        (batch.values, _REMOVE_VALUES, _PUT_VALUES),
    ):
        kept, removed = _split(rows)
        if removed:
            connection.execute(remove, (removed,))
        if kept:
            connection.execute(put, ([*kept], [*kept.values()]))
    entries = [replace(entry, number=last + n) for n, entry in enumerate(batch.log_entries, 1)]
    if entries:
        connection.execute(
            "INSERT INTO happening (number, at, who, event_id, body) "
            "SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bytea[])",
            [
                [getattr(entry, column) for entry in entries]
                for column in ("number", "at", "who", "event_id", "body")
            ],
        )
    return entries


def _split(rows: Mapping[str, _T | None]) -> tuple[dict[str, _T], list[str]]:
    """Return the rows to keep, and the names of those to remove."""
    kept = {name: value for name, value in rows.items() if value is not None}
    return kept, [name for name, value in rows.items() if value is None]
