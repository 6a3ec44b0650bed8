"""`openimds doctor --store`: an engine as it was found, and a store in a file."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from openimds.cli import doctor_store
from openimds.cli.doctor import DoctorContext, _store
from openimds.cli.doctor_store import engine_results, store_results
from openimds.errors import ConfigError
from openimds.fleet.store.port import StoreError, Write
from openimds.fleet.store.postgres import inspection
from openimds.fleet.store.postgres.inspection import EngineReport
from openimds.fleet.store.postgres.lease import LeaseHolder
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.schema import STEPS
from openimds.fleet.store.sqlite import SqliteStore
from openimds.linux.checks import CheckResult

URL = "postgresql://me@db-1/fleet"
WHERE = "PostgreSQL at db-1:5432, database fleet"
SAFE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "",
}
SOUND = EngineReport(
    version="15.10",
    major=15,
    user="me",
    standbys=0,
    settings=SAFE,
    ahead_s=0.01,
    may_make=True,
    closed=(),
    steps=len(STEPS),
    min_reader=1,
    leader=LeaseHolder("c1/7", "http://c1:8170", 7, 2.5),
)


def found(report: EngineReport) -> list[CheckResult]:
    return [*engine_results(WHERE, report, "openimds")]


def of_settings(**settings: str) -> EngineReport:
    return replace(SOUND, settings=SAFE | settings)


def test_sound_engine_is_right() -> None:
    assert found(SOUND) == [
        CheckResult("ok", f"{WHERE}: version 15.10, takes writes"),
        CheckResult("ok", f"the tables have schema {len(STEPS)}"),
        CheckResult("ok", "its clock is that of this machine"),
        CheckResult("ok", "c1/7 leads at http://c1:8170 (epoch 7)"),
    ]


def test_engine_without_tables_waits_for_a_control() -> None:
    results = found(replace(SOUND, steps=None, min_reader=None, leader=None))
    assert results[1].found == "the schema openimds has no tables yet: a control makes them"
    assert len(results) == 3


@pytest.mark.parametrize(
    "report, state, text, do",
    [
        (replace(SOUND, version="12.9", major=12), "wrong", "version 12.9", "PostgreSQL 13 or"),
        (of_settings(fsync="off"), "note", "fsync is off: a power cut", "SET fsync = on"),
        (of_settings(full_page_writes="off"), "note", "full_page_writes is off", "= on"),
        (replace(SOUND, standbys=2), "note", "2 standbys are not waited for", "standby_names"),
        (
            replace(
                SOUND,
                standbys=1,
                settings=SAFE
                | {"synchronous_commit": "local", "synchronous_standby_names": "db-2"},
            ),
            "note",
            "1 standbys are not waited for",
            "synchronous_commit = on",
        ),
        (replace(SOUND, closed=("change", "vm")), "wrong", "tables change, vm", "that of --store"),
        (replace(SOUND, may_make=False), "wrong", "may not make tables", 'OWNER TO "me"'),
        (
            replace(SOUND, steps=9, min_reader=9),
            "wrong",
            "later release (schema 9)",
            "that release",
        ),
        (replace(SOUND, steps=0), "note", "earlier release (schema 0 of", "next control"),
        (replace(SOUND, ahead_s=-3.2), "note", "its clock is -3 s from", "set-ntp true"),
        (replace(SOUND, ahead_s=90.0), "wrong", "its clock is +90 s from", "set-ntp true"),
        (replace(SOUND, leader=None), "note", "no control leads", "openimds control run"),
    ],
)
def test_defect_of_an_engine_is_named_with_its_remedy(
    report: EngineReport, state: str, text: str, do: str
) -> None:
    (result,) = [one for one in found(report) if one.state != "ok"]
    assert result.state == state
    assert text in result.found
    assert do in result.do


def test_commits_that_wait_for_standbys_are_right() -> None:
    settings = SAFE | {"synchronous_standby_names": "db-2"}
    assert {one.state for one in found(replace(SOUND, standbys=1, settings=settings))} == {"ok"}


def test_commit_that_does_not_wait_is_turned_on_by_control() -> None:
    results = found(of_settings(synchronous_commit="off"))
    assert results[1] == CheckResult(
        "ok", "synchronous_commit is off; controls turn it on for themselves"
    )


def test_url_is_inspected_with_its_password(tmp_path: Path, monkeypatch: Any) -> None:
    asked = list[PostgresLocation]()

    def inspect(location: PostgresLocation) -> EngineReport:
        asked.append(location)
        return SOUND

    monkeypatch.setattr(inspection, "inspect", inspect)
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("s3cret\n")
    results = [*store_results(URL, str(file))]
    assert asked[0].password == "s3cret"
    assert results[0].found.startswith(WHERE)
    assert "s3cret" not in str(results)


def test_missing_driver_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise ImportError

    monkeypatch.setattr("importlib.import_module", fail)
    with pytest.raises(ConfigError, match=r"the extra postgres to be installed.*openimds\[postg"):
        [*store_results(URL, "")]


def test_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--store: saw"):
        [*store_results("mysql://db-1/fleet", "")]


def test_store_in_a_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    with pytest.raises(StoreError, match=r"fleet\.db"):
        [*store_results(str(path), "")]
    store = SqliteStore(path)
    store.write([Write("a", b"{}", "api"), Write("b", b"{", "api")], "test", "now")
    store.close()
    sound = CheckResult("ok", f"{path}: 2 VMs, change 2")
    unread = CheckResult("wrong", "b cannot be read", "put it again")
    assert [*store_results(str(path), "")] == [unread, sound]
    assert [*store_results(str(tmp_path), "")] == [unread, sound]
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE vm")
    database.close()
    (damage,) = [*store_results(str(path), "")]
    assert (damage.state, damage.do) == ("wrong", f"openimds state restore FILE --state {tmp_path}")


def test_doctor_without_a_store_checks_none(tmp_path: Path) -> None:
    assert doctor_store.store_results is store_results
    context = DoctorContext.__new__(DoctorContext)
    context.store = context.store_password_file = ""
    assert [*_store(context)] == []
    context.store = str(tmp_path)
    with pytest.raises(StoreError):
        [*_store(context)]
