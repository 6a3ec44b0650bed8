"""Opening the store of a state folder: a lost or damaged one is an error."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from openimds.fleet.store.file_length import cut
from openimds.fleet.store.kept import KeptStore
from openimds.fleet.store.marker import Progress, StoreMarker
from openimds.fleet.store.port import StoreError
from openimds.fleet.store.salvage import salvage, salvaged_path
from openimds.fleet.store.schema import upgrade_notice
from openimds.fleet.store.sqlite_file import DAMAGED, name_of
from openimds.log.events import STORE_MADE, STORE_REFUSES, STORE_SALVAGED, STORE_UPGRADED
from openimds.private_files import sync

MOST_CHECKED_BYTES = 128 << 20
"""A store of this size is checked in a third of a second; a larger one while it is served.

The store of 100,000 VMs with one change of each has 65 MB.
"""


def open_store(
    path: Path, notify: Callable[[str], None], *, is_recovery: bool = False
) -> KeptStore:
    """Open the store of a state folder, or create the first one.

    With `is_recovery` a lost store is begun anew, and of a damaged one those rows are kept that can
    be read. The operator gets a message about it.

    Raises:
        StoreError: a store that was there is missing, empty, damaged or older than it was.
    """
    marker = StoreMarker(path)
    _end_recovery(path, marker)
    try:
        seen = marker.seen()
        size = path.stat().st_size if path.exists() else 0
    except OSError as error:
        raise StoreError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if seen is not None and not size:
        fault = "is empty" if path.exists() else "is missing"
        if not is_recovery:
            raise _lost(path, f"{fault}, but {marker.path.name} tells that it held a fleet")
        _move_away(path)
        notify(
            STORE_SALVAGED.message(
                f"{path} {fault}: an empty store takes its place, as --state-recover asks",
                path=str(path),
            )
        )
        seen = None
    store = _open(path, marker, notify, is_recovery=is_recovery)
    try:
        _check_age(store, seen, notify, is_recovery=is_recovery)
        store.begin()
        store.on_upgrade = lambda copy: notify(
            STORE_UPGRADED.message(upgrade_notice(path, copy), copy=str(copy))
        )
        if store.copied_to:
            store.on_upgrade(store.copied_to)
        store.on_made = lambda: notify(
            STORE_MADE.message(f"{path} is made, and changes are taken", path=str(path))
        )
        if store.is_unmade:
            notify(
                STORE_REFUSES.message(
                    f"there is no store yet, and none can be made: {store.refusal}. The VMs of the "
                    "start are served from memory, and changes are refused, until the disk takes a "
                    "store",
                    reason=store.refusal,
                )
            )
        elif store.refusal:
            notify(
                STORE_REFUSES.message(
                    f"the stored fleet is served, but changes are refused: {store.refusal}",
                    reason=store.refusal,
                )
            )
    except BaseException:
        store.close()
        raise
    return store


def _open(
    path: Path, marker: StoreMarker, notify: Callable[[str], None], *, is_recovery: bool
) -> KeptStore:
    """Open a store and check it; salvage a damaged one if that is wanted."""
    damage = _cut(path)
    try:
        # Not opened where its end is cut off: SQLite might write its log back.
        store = None if damage else KeptStore(path, marker)
    except StoreError as error:
        if not name_of(error).startswith(DAMAGED):
            raise
        store, damage = None, str(error.__cause__)
    if store:
        store.is_unchecked = not store.is_unmade and path.stat().st_size > MOST_CHECKED_BYTES
        damage = "" if store.is_unchecked else store.quick_check()
        if not damage:
            return store
        store.close()
    if not is_recovery:
        raise _lost(path, f"is damaged ({damage})")
    # Beside it first: an attempt that ends half-way must not be taken for the store by the next.
    new = path.with_name(f"{path.stem}-salvaging{path.suffix}")
    for ending in ("", "-journal", "-wal", "-shm"):
        new.with_name(f"{new.name}{ending}").unlink(missing_ok=True)
    saved = salvage(path, new)
    new.replace(salvaged_path(path))
    moved = _move_away(path)
    _end_recovery(path, marker)
    notify(
        STORE_SALVAGED.message(
            f"{path} is damaged ({damage}): {saved} VMs could be read and are served, as "
            f"--state-recover asks. The damaged file is {moved.name}",
            path=str(path),
        )
    )
    return KeptStore(path, marker)


def _cut(path: Path) -> str:
    """Return how many pages the end of a store lacks, or nothing.

    Raises:
        StoreError: the file cannot be read.
    """
    try:
        return cut(path)
    except OSError as error:
        raise StoreError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _end_recovery(path: Path, marker: StoreMarker) -> None:
    """Put a salvaged store in the place of the damaged one, which was moved away.

    Where that was interrupted, the next start does it: the salvage was whole by then.

    Raises:
        StoreError: the folder cannot be written.
    """
    new = salvaged_path(path)
    try:
        if not new.exists():
            return
        if path.exists():  # It would be out of date by the time this store is lost.
            with suppress(OSError):
                new.unlink()
            return
        marker.path.unlink(missing_ok=True)
        new.rename(path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _check_age(
    store: KeptStore, seen: Progress | None, notify: Callable[[str], None], *, is_recovery: bool
) -> None:
    """Check that a store has every change and log entry that its marker has seen.

    Raises:
        StoreError: some are missing, and that is not accepted.
    """
    progress = store.progress()
    if seen is None or not progress.is_behind(seen):
        return
    fault = (
        f"is older than it was (change {progress.change} and log entry {progress.log}, after "
        f"change {seen.change} and log entry {seen.log}): another file took its place, or its "
        f"write-ahead log {store.path.name}-wal is missing or cut"
    )
    if not is_recovery:
        raise _lost(store.path, fault)
    notify(
        STORE_SALVAGED.message(
            f"{store.path} {fault}. It is served as it is, as --state-recover asks",
            path=str(store.path),
        )
    )


def _lost(path: Path, fault: str) -> StoreError:
    return StoreError(
        f"{path} {fault}. Restore it: openimds state restore FILE --state {path.parent}. Or go on "
        "with what is left: openimds serve --state-recover"
    )


def _move_away(path: Path) -> Path:
    """Rename a store and the files beside it; return the new path of the store."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    moved = path.with_name(f"{path.name}.{stamp}")
    for ending in ("-wal", "-shm", ""):
        beside = path.with_name(f"{path.name}{ending}")
        if beside.exists():
            beside.rename(moved.with_name(f"{moved.name}{ending}"))
    return moved
