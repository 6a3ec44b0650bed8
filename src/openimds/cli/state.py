"""`openimds state`: check, back up, restore and prune the store of a state folder."""

import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openimds.cli.groups import CommandGroup
from openimds.cli.main import options, values
from openimds.cli.output import output_options, print_object
from openimds.errors import Error

if TYPE_CHECKING:
    from openimds.fleet.store.backup import StoreReport
    from openimds.settings import Settings

_PAUSE_S = 0.005
"""The time between two steps of pruning, in which a server writes its changes."""
_output = output_options("text", has_names=False)


@click.group("state", cls=CommandGroup)
def command() -> None:
    """Check, back up, restore and prune the store of a state folder.

    The store has VMs, their changes and events. Keys and certificates are plain files beside it.
    """


@command.command("check")
@options("state", "state_group")
@_output
def check(*, output: str, **flags: object) -> None:
    """Check owners and modes of all files, and every page of the store.

    It may run beside a server. The exit code is 1 if anything is wrong.
    """
    from openimds.fleet.store.backup import check_store
    from openimds.fleet.store.marker import Progress, StoreMarker

    path = _store(values(flags))
    seen = StoreMarker(path).seen(_owner(path.parent))  # First: a server beside this goes on.
    report = check_store(path)
    faults = [f"{path} is damaged: {damage}" for damage in report.damage]
    faults += [f"{name} cannot be read: put it again" for name in report.unreadable]
    if seen and Progress(report.change, report.log).is_behind(seen):
        faults.append(
            f"{path} has change {report.change} and log entry {report.log}, expected "
            f"{seen.change} and {seen.log}: changes are missing"
        )
    text = _summary(path, report) if not faults else "\n".join(faults)
    print_object(output, {"faults": faults, **_as_json(report)}, lambda: click.echo(text))
    if faults:
        sys.exit(1)


@command.command("backup")
@click.argument("file")
@options("state", "state_group")
def backup(file: str, **flags: object) -> None:
    """Copy the store into a new FILE; it may run beside a server.

    The copy has the secrets of VMs; it is made with mode 0600.
    """
    from openimds.fleet.store.backup import back_up

    into = Path(file).absolute()
    click.echo(_summary(into, back_up(_store(values(flags)), into)), err=True)


@command.command("restore")
@click.argument("file")
@options("state", "state_group")
def restore(file: str, **flags: object) -> None:
    """Put the backup FILE in the place of the store.

    Stop the server first. The store of before is kept as fleet.db.replaced until the next restore.
    """
    from openimds.fleet.store import backup as backups
    from openimds.fleet.store.state import State

    settings = values(flags)
    folder = _folder(settings)
    state = State(folder, settings.state_group, users=_owner(folder))
    try:
        report, replaced = backups.restore(Path(file).absolute(), state.store_path)
        _give_to_owner(folder)
    finally:
        state.close()
    kept = f"; the store of before is {replaced}" if replaced else ""
    click.echo(f"{_summary(state.store_path, report)}{kept}", err=True)


@command.command("prune")
@click.option("--dry-run", is_flag=True, help="Print the numbers of rows, and delete none.")
@options("history_days", "history_mib", "state", "state_group")
@_output
def prune(*, dry_run: bool, output: str, **flags: object) -> None:
    """Delete the audit log and the event log beyond their bounds.

    A server does so by itself, at most a tenth of a log at a time. This deletes all of it at once,
    by the clock of this machine; it may run beside a server. The file keeps its size: new rows use
    the space.
    """
    from openimds.fleet.store import backup as backups
    from openimds.fleet.store.history import HistoryBounds
    from openimds.fleet.store.port import Log

    settings = values(flags)
    path = _store(settings)
    bounds = HistoryBounds(settings.history_days, settings.history_mib << 20)
    rows = backups.prune(
        path, bounds, time.time(), is_dry=dry_run, pause=lambda: time.sleep(_PAUSE_S)
    )
    counts = {log.value: count for log, count in rows.items()}
    done = "to delete" if dry_run else "deleted"
    text = f"{path}: {rows[Log.CHANGES]} changes and {rows[Log.EVENTS]} event log entries {done}"
    print_object(output, {**counts, "dryRun": dry_run}, lambda: click.echo(text))


def _folder(settings: "Settings") -> Path:
    if not settings.state:
        raise Error("state: saw no folder, expected the one of the server. Write --state DIR")
    return Path(settings.state).absolute()


def _store(settings: "Settings") -> Path:
    """Return the path of the store, after a check of its folder.

    Raises:
        UntrustedFileError: another user owns or can change the folder or a file in it.
        Error: there is no such folder.
    """
    from openimds.fleet.store.state import STORE_NAME
    from openimds.private_files import check_tree, trust_group

    folder = _folder(settings)
    trust_group(settings.state_group)
    try:
        check_tree(folder, _owner(folder))
    except OSError as error:
        raise Error(f"{folder}: {(error.strerror or str(error)).lower()}") from None
    return folder / STORE_NAME


def _owner(folder: Path) -> frozenset[int]:
    """Return the owner of a folder, whom root trusts with the folder's files."""
    from openimds.private_files import current_user

    is_root = current_user() == 0 and folder.exists()
    return frozenset({folder.stat().st_uid}) if is_root else frozenset()


def _give_to_owner(folder: Path) -> None:
    """Give the files that root has made to the owner of the folder."""
    from openimds.private_files import current_user

    status = folder.stat()
    if sys.platform != "win32" and current_user() == 0 and status.st_uid != 0:
        for path in folder.iterdir():
            seen = path.lstat()
            # The owner may have put a link to a file of root there, also in this moment.
            if seen.st_uid == 0 and stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1:
                os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


def _as_json(report: "StoreReport") -> dict[str, object]:
    return {"vms": report.vms, "change": report.change, "logEntry": report.log}


def _summary(path: Path, report: "StoreReport") -> str:
    return f"{path}: {report.vms} VMs, change {report.change}, log entry {report.log}"
