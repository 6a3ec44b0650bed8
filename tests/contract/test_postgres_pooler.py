"""Poolers between control and PostgreSQL: one that changes connections is refused."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from openimds.fleet.store.port import StoreError, Write
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.store import PostgresStore
from openimds.linux.syscalls import end_with_parent
from tests.support.postgres import shared_cluster, skip
from tests.support.waiting import until


@pytest.fixture
def pooler(tmp_path: Path) -> Iterator[Callable[[str], PostgresLocation]]:
    """Start pgbouncer in a mode, and return the location of a store behind it."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        skip("pgbouncer is not installed: type apt-get install pgbouncer")
    assert program
    cluster, running = shared_cluster(), list[subprocess.Popen[bytes]]()

    def start(mode: str) -> PostgresLocation:
        with closing(socket.create_server(("127.0.0.1", 0))) as found:
            port = found.getsockname()[1]
        folder = cluster.folder / f"pooler-{port}"
        folder.mkdir(mode=0o755)
        (folder / "users.txt").write_text('"openimds" ""\n')
        (folder / "pooler.ini").write_text(
            f"[databases]\n* = host={cluster.folder}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {folder}/users.txt\npool_mode = {mode}\n"
        )
        log = folder / "log"
        with log.open("w") as stderr:
            running.append(
                subprocess.Popen(
                    [program, folder / "pooler.ini"],
                    user=cluster.user,
                    stdout=stderr,
                    stderr=stderr,
                    preexec_fn=lambda: end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one call of libc
                )
            )
        until(lambda: "process up" in log.read_text())
        place = cluster.location(tmp_path)
        return PostgresLocation("127.0.0.1", str(port), "postgres", "openimds", schema=place.schema)

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("busy", [0, 3])
def test_pooler_in_transaction_mode_is_refused(
    pooler: Callable[[str], PostgresLocation], busy: int
) -> None:
    location = pooler("transaction")
    others = [
        psycopg.connect(host=location.host, port=location.port, dbname="postgres", user="openimds")
        for _ in range(busy)
    ]
    for other in others:
        other.execute("SELECT 1")  # In a transaction: it keeps a connection of the engine.
    with pytest.raises(StoreError) as caught:
        PostgresStore(location)
    assert str(caught.value) == (
        f"{location}: a pooler in transaction mode is between (such as pgbouncer with "
        "pool_mode=transaction); name the engine's own host and port in --store, or set "
        "pool_mode=session for this database"
    )
    for other in others:
        other.close()


def test_pooler_in_statement_mode_is_refused(pooler: Callable[[str], PostgresLocation]) -> None:
    with pytest.raises(StoreError, match="a pooler in transaction mode is between"):
        PostgresStore(pooler("statement"))


def test_pooler_in_session_mode_does_no_harm(pooler: Callable[[str], PostgresLocation]) -> None:
    store = PostgresStore(pooler("session"))
    store.write([Write("vm", b"{}", "api")], "tester", "now")
    assert store.revision() == 1
    store.close()
