"""A PostgreSQL of the tests' own: a cluster in a folder, with its socket."""

import functools
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.linux.syscalls import end_with_parent
from tests.support.waiting import until

_FAST = ("fsync=off", "full_page_writes=off")
"""Faster, and safe for a crash of the engine: only one of the machine loses a commit."""
KEEPER = "keeper"
"""The only user who needs a password; a test makes it."""
_ENVIRONMENT = {"LC_ALL": "C", "PATH": os.environ.get("PATH", ""), "TZ": "UTC"}


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, or None without one."""
    found = shutil.which("initdb")
    folders = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *([Path(found)] if found else [])]
    newest = max(folders, key=lambda path: (len(path.parts[-3]), path.parts[-3]), default=None)
    return newest.parent if newest else None


def skip(reason: str) -> None:
    """Skip a test, but not in CI: there a missing engine would hide every failure."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


class PostgresCluster:
    """A cluster that ends with its process."""

    def __init__(self, *, is_fast: bool = True, listen: str = "") -> None:
        """Make and start a cluster; a fast one may lose commits with the machine.

        `listen` has its addresses beside the socket; users need a password there.
        """
        self._settings = _FAST if is_fast else ()
        self._listen = listen
        binaries = programs()
        if binaries is None:
            skip("PostgreSQL is not installed: type apt-get install postgresql")
        assert binaries
        self.folder = Path(tempfile.mkdtemp(prefix="openimds-postgres-"))
        self.data = self.folder / "data"
        self._programs = binaries
        self.user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses root.
            self.user = "postgres"
            os.chown(self.folder, pwd.getpwnam("postgres").pw_uid, -1)
        options = ("--no-sync", "--auth=trust", "--username=openimds", "--no-instructions")
        self._run("initdb", *options, "--encoding=UTF8", "--locale=C", "-D", str(self.data))
        rules = self.data / "pg_hba.conf"
        own = f"local all {KEEPER} scram-sha-256\nhost all all samenet scram-sha-256\n"
        rules.write_text(f"{own if listen else own.splitlines()[0]}\n{rules.read_text()}")
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        ended = subprocess.run(
            [self._programs / program, *arguments],
            user=self.user,
            extra_groups=None if self.user is None else [],
            env=_ENVIRONMENT,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    def start(self) -> None:
        """Start the engine, and wait until it takes connections."""
        log = self.folder / "log"
        settings = (
            f"unix_socket_directories={self.folder}",
            f"listen_addresses={self._listen}",
            "max_connections=60",
            "shared_buffers=16MB",
            *self._settings,
        )
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *_options(settings)],
                user=self.user,
                extra_groups=None if self.user is None else [],
                env=_ENVIRONMENT,
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                preexec_fn=functools.partial(end_with_parent, signal.SIGQUIT),  # noqa: PLW1509 - one call of libc
            )
        until(lambda: self._is_ready(log.read_text()))

    def _is_ready(self, log: str) -> bool:
        assert self.process.poll() is None, log
        return "ready to accept connections" in log

    def stop(self, number: int = signal.SIGINT) -> None:
        """End the engine: SIGINT ends it in order, SIGQUIT at once, as a crash does."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(30)

    def location(self, place: object, host: str = "") -> PostgresLocation:
        """Return the location of the store of a place: a folder, or any name."""
        name = hashlib.blake2b(str(place).encode(), digest_size=8).hexdigest()
        host = host or str(self.folder)
        return PostgresLocation(host, "5432", "postgres", "openimds", schema=f"s{name}")


def connect(location: PostgresLocation) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect beside a store, to its tables."""
    return psycopg.connect(
        host=location.host,
        port=location.port,
        dbname=location.database,
        user=location.user,
        options=f"-c search_path={location.schema}",
        autocommit=True,
    )


def run(location: PostgresLocation, query: Any, *arguments: object) -> Any:
    """Run a statement beside a store; return the first value of its rows."""
    with connect(location) as connection:
        cursor = connection.execute(query, arguments or None)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


def _options(settings: tuple[str, ...]) -> list[str]:
    return [part for setting in settings for part in ("-c", setting)]


@functools.cache
def shared_cluster() -> PostgresCluster:
    """Return the cluster of this process, begun at the first use."""
    return PostgresCluster()


def end_shared_cluster() -> None:
    """End the cluster of this process, if there is one."""
    if shared_cluster.cache_info().currsize:
        shared_cluster().stop()
        shutil.rmtree(shared_cluster().folder)
        shared_cluster.cache_clear()
