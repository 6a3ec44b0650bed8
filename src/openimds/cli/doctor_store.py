"""The checks of `openimds doctor --store`: an engine, or a store in a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from openimds.linux.checks import CheckResult

if TYPE_CHECKING:  # The driver is an extra.
    from openimds.fleet.store.postgres.inspection import EngineReport

_SKEW_S, _WRONG_SKEW_S = 2.0, 60.0
"""From so many seconds on, clocks that differ are a note, and wrong."""
_NTP = "timedatectl set-ntp true, on both machines"
_SURVIVAL = {
    "fsync": "a power cut can lose changes that were acknowledged, and damage the store",
    "full_page_writes": "a power cut can damage the store",
}
"""The harm of settings of PostgreSQL that are off."""


def store_results(store: str, password_file: str) -> Iterator[CheckResult]:
    """Check the store of a URL or of a path.

    Raises:
        ConfigError: the URL does not fit, the password cannot be read, or the driver is missing.
        StoreError: the store cannot be used.
    """
    if "://" in store:
        from openimds.fleet.store.postgres.location import locate, require_driver

        location = locate(store, password_file)
        require_driver()
        from openimds.fleet.store.postgres.inspection import inspect

        yield from engine_results(str(location), inspect(location), location.schema)
    else:
        yield from _file_results(Path(store))


def _file_results(path: Path) -> Iterator[CheckResult]:
    """Check a store in a file, or that of a state folder."""
    from openimds.fleet.store.backup import check_store
    from openimds.fleet.store.state import STORE_NAME

    path = path / STORE_NAME if path.is_dir() else path
    report = check_store(path)
    for damage in report.damage:
        found = f"{path} is damaged: {damage}"
        yield CheckResult("wrong", found, f"openimds state restore FILE --state {path.parent}")
    for name in report.unreadable:
        yield CheckResult("wrong", f"{name} cannot be read", "put it again")
    if not report.damage:
        yield CheckResult("ok", f"{path}: {report.vms} VMs, change {report.change}")


def engine_results(where: str, report: "EngineReport", schema: str) -> Iterator[CheckResult]:
    """Yield the results of an engine that could be used."""
    for check in (_version, _survival, _standbys, _schema, _clock, _leader):
        yield from check(where, report, schema)


def _version(where: str, report: "EngineReport", _: str) -> Iterator[CheckResult]:
    from openimds.fleet.store.postgres.inspection import OLDEST_VERSION

    found = f"{where}: version {report.version}, takes writes"
    if report.major < OLDEST_VERSION:
        yield CheckResult("wrong", found, f"install PostgreSQL {OLDEST_VERSION} or newer")
    else:
        yield CheckResult("ok", found)


def _survival(_: str, report: "EngineReport", __: str) -> Iterator[CheckResult]:
    for name, harm in _SURVIVAL.items():
        if report.settings.get(name) == "off":
            do = f"psql -c 'ALTER SYSTEM SET {name} = on', then reload the engine"
            yield CheckResult("note", f"{name} is off: {harm}", do)
    if report.settings.get("synchronous_commit") == "off":
        yield CheckResult("ok", "synchronous_commit is off; controls turn it on for themselves")


def _standbys(_: str, report: "EngineReport", __: str) -> Iterator[CheckResult]:
    """Check that a standby which is promoted has all that was acknowledged."""
    settings = report.settings
    is_local = settings.get("synchronous_commit") == "local"
    if report.standbys and (is_local or not settings.get("synchronous_standby_names")):
        yield CheckResult(
            "note",
            f"{report.standbys} standbys are not waited for: one that is promoted may lack "
            "acknowledged changes",
            "set synchronous_standby_names, and synchronous_commit = on",
        )


def _schema(_: str, report: "EngineReport", schema: str) -> Iterator[CheckResult]:
    from openimds.fleet.store.postgres.schema import STEPS

    own = f'psql -c \'ALTER SCHEMA "{schema}" OWNER TO "{report.user}"\''
    if report.closed:
        names = ", ".join(report.closed)
        found = f'user "{report.user}" may not read and write the tables {names}'
        yield CheckResult("wrong", found, "let the user that made them be that of --store")
    elif not report.may_make:
        found = f'user "{report.user}" may not make tables in the schema {schema}'
        yield CheckResult("wrong", found, f"{own}, or GRANT CREATE ON DATABASE")
    elif report.steps is None or report.min_reader is None:
        yield CheckResult("ok", f"the schema {schema} has no tables yet: a control makes them")
    elif report.min_reader > len(STEPS):
        found = f"the tables are of a later release (schema {report.steps})"
        yield CheckResult("wrong", found, "use that release")
    elif report.steps < len(STEPS):
        found = f"the tables are of an earlier release (schema {report.steps} of {len(STEPS)})"
        yield CheckResult("note", found, "the next control that leads brings them up to date")
    else:
        yield CheckResult("ok", f"the tables have schema {report.steps}")


def _clock(_: str, report: "EngineReport", __: str) -> Iterator[CheckResult]:
    skew_s = abs(report.ahead_s)
    found = f"its clock is {report.ahead_s:+.0f} s from this machine's"
    if skew_s >= _WRONG_SKEW_S:
        yield CheckResult("wrong", found, _NTP)
    elif skew_s >= _SKEW_S:
        yield CheckResult("note", found, _NTP)
    else:
        yield CheckResult("ok", "its clock is that of this machine")


def _leader(_: str, report: "EngineReport", __: str) -> Iterator[CheckResult]:
    if report.steps is None:
        return
    leader = report.leader
    if leader is None:
        yield CheckResult("note", "no control leads", "openimds control run")
    else:
        found = f"{leader.holder} leads at {leader.url} (epoch {leader.epoch})"
        yield CheckResult("ok", found)
