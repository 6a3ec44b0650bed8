"""Damaged bodies of a store: the server starts, and no answer is a 500."""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from openimds.errors import Error
from openimds.server.build import build
from openimds.server.startup import load
from openimds.settings import Settings

BODIES = {
    "empty": b"",
    "no text": b"\xff",
    "cut": b"{",
    "list": b"[]",
    "list of objects": b'[{"a":1}]',
    "number": b"1",
    "null": b"null",
    "text": b'"x"',
    "other members": b'{"a":1}',
    "other type": b'{"compute":1}',
    "deep": b"[" * 50_000,
    "zeros": b"{}" + b"\0" * 100,
}
FLEET = '{"vms": {"a": {"reach": {"address": ["127.0.0.5"]}}, "b": {"classic": true}}}'
EDITED = FLEET.replace("true", "false").replace("0.5", "0.9")
READ = (
    "/v1/vms",
    "/v1/vms/a",
    "/v1/vms/c",
    "/v1/vms/c/document",
    "/v1/audit",
    "/v1/events",
    "/v1/events/log",
    "/v1/faults",
    "/v1/clock",
    "/metrics",
    "/readyz",
)


def token_in(file: str | None) -> str:
    assert file
    return Path(file).read_text().strip()


async def statuses(folder: Path, fleet: str, *changes: tuple[str, str, Any]) -> dict[str, int]:
    """Start a server; return the status of every read, then of changes."""
    (folder / "fleet.json").write_text(fleet)
    settings = Settings(
        fleet=str(folder / "fleet.json"),
        listen="127.0.0.1:0",
        admin="127.0.0.1:0",
        public="none",
        state=str(folder / "state"),
        virtual_clock=True,
    )
    messages: list[str] = []
    server = build(load(settings), messages.append)
    try:
        ready = await server.start()
        token = token_in(ready.token_file)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=str(ready.admin), headers=headers) as api:
            got = {path: (await api.get(path)).status_code for path in READ}
            for method, path, body in changes:
                got[method] = (await api.request(method, path, json=body)).status_code
    finally:
        await server.stop(patience_s=0)
    assert not [message for message in messages if "internal error" in message]
    return got


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder whose store has a row of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    changes = (
        ("PUT", "/v1/vms/c", {"reach": {"address": ["127.0.0.7"]}}),
        ("POST", "/v1/events", {"type": "Freeze", "vms": ["c"]}),
        ("POST", "/v1/faults", {"effect": "status", "status": 410}),
        ("POST", "/v1/clock", {"offsetS": 5}),
    )
    for change in changes:
        got = asyncio.run(statuses(folder, FLEET, change))
        assert 200 <= got[change[0]] < 300, (change, got)
    return folder


def columns(store: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(store)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [
            (table, row[1])
            for (table,) in tables
            for row in database.execute(f"PRAGMA table_info({table})").fetchall()
            if row[2] == "BLOB"
        ]


def check(whole: Path, folder: Path, kind: str, damaged: list[tuple[str, str]]) -> None:
    """Damage these columns of a copy, then use it with an edited fleet file."""
    shutil.copytree(whole, folder)
    with closing(sqlite3.connect(folder / "state" / "fleet.db")) as database, database:
        for table, column in damaged:
            database.execute(f"UPDATE {table} SET {column} = ?", (BODIES[kind],))
    with suppress(Error):  # A refusal that names the row is as good.
        got = asyncio.run(
            statuses(folder, EDITED, ("PUT", "/v1/vms/c", {}), ("DELETE", "/v1/vms/c", None))
        )
        internal = {path: status for path, status in got.items() if status >= 500}
        assert not internal, (damaged, internal)


@pytest.mark.parametrize("kind", BODIES)
def test_damage_of_every_body_is_no_internal_error(whole: Path, tmp_path: Path, kind: str) -> None:
    found = columns(whole / "state" / "fleet.db")
    assert {"vm", "event", "note", "happening", "applied_entry"} <= {table for table, _ in found}
    check(whole, tmp_path / "copy", kind, found)


@pytest.mark.parametrize("kind", BODIES if os.environ.get("OPENIMDS_CUT_ROUNDS") else ["null"])
def test_damage_of_one_column_is_no_internal_error(whole: Path, tmp_path: Path, kind: str) -> None:
    for table, column in columns(whole / "state" / "fleet.db"):
        check(whole, tmp_path / f"{table}-{column}", kind, [(table, column)])
