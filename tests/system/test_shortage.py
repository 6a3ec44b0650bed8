"""The real process where open files are few, or none is left."""

import re
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from openimds.server.file_budget import FileBudget
from tests.system.process import Server, serving

pytestmark = pytest.mark.system

FLEET = """
vms:
  flood: {reach: {address: [127.0.0.31]}}
  quiet: {reach: {address: [127.0.0.32]}, compute: {vmSize: SIZE}}
"""
SIZE = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
REQUEST = f"GET {SIZE} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n\r\n".encode()
ARGUMENTS = ("--fleet", "fleet.yaml", "--state", "s", "--no-rate-limit")
FILES = 96


class Guest:
    """A connection of the VM that has an address."""

    def __init__(self, server: Server, address: str) -> None:
        to = urlsplit(server.url)
        self.socket = socket.create_connection(
            (to.hostname or "", to.port or 0), timeout=30, source_address=(address, 0)
        )

    def ask(self) -> None:
        self.socket.sendall(REQUEST)

    def answer(self) -> str:
        """Return the VM size of a response, or nothing of a connection that was closed."""
        data = b""
        while b"\r\n\r\n" not in data and (piece := self.socket.recv(4096)):
            data += piece
        return data.rpartition(b"\r\n\r\n")[2].decode()


def answer(server: Server, address: str) -> str:
    """Return the VM size that a guest gets on a new connection."""
    guest = Guest(server, address)
    with guest.socket:
        guest.ask()
        return guest.answer()


def metrics(server: Server) -> dict[str, float]:
    text = httpx2.get(f"{server.ready['admin']}/metrics", timeout=30).raise_for_status().text
    lines = (line.split() for line in text.splitlines() if re.match(r"openimds_\w+ ", line))
    return {name: float(value) for name, value in lines}


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET.replace("SIZE", "One"))
    return file


def edit(file: Path) -> None:
    new = file.with_name("new")
    new.write_text(FLEET.replace("SIZE", "Two"))
    new.replace(file)


def test_flood_of_connections_leaves_files_for_all_others(tmp_path: Path, fleet: Path) -> None:
    most = FileBudget(FILES).connections(20_000)
    with (
        ExitStack() as held,
        serving(*ARGUMENTS, cwd=tmp_path, files=str(FILES)) as server,
    ):
        assert server.next_line().startswith(
            f"openimds: the limit of open files is {FILES} (at the start soft limit {FILES}, hard "
            f"limit {FILES}): guests have at most {most} connections at a time, not 20000. "
        )
        strangers = [f"127.0.0.{number}" for number in range(41, 51)]
        for address in ["127.0.0.31"] * 2 * most + strangers * 10:
            guest = Guest(server, address)
            held.enter_context(guest.socket)
            guest.ask()  # The kernel shows a connection once it has asked.
            assert answer(server, "127.0.0.32") == "One"
        # The admin API answers its first request beside as many idle connections as it has places.
        admin = urlsplit(server.ready["admin"])
        for _ in range(2 * FileBudget(FILES).port_connections):
            held.enter_context(socket.create_connection((admin.hostname or "", admin.port or 0)))
        counts = metrics(server)
        assert counts["openimds_connections_limit"] == most
        assert counts["openimds_connections_evicted_total"] > 100
        assert counts["openimds_connections_refused_total"] == 0
        assert counts["openimds_accept_pauses_total"] == 0
        for stranger in strangers:
            assert server.next_line().startswith(f"openimds: unknown caller {stranger}: ")
        edit(fleet)
        assert server.next_line() == f"openimds: {fleet}: 1 changes applied.\n"
        assert answer(server, "127.0.0.32") == "Two"
        code, err = server.stop()
    assert (code, err) == (0, "")


@contextmanager
def without_files(server: Server) -> Iterator[None]:
    """Let the process open no file meanwhile."""
    process = server.process.pid
    before = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)


def test_work_without_a_file_descriptor_is_done_later(tmp_path: Path, fleet: Path) -> None:
    with (
        ExitStack() as held,
        serving(*ARGUMENTS, "--processes", "1", cwd=tmp_path) as server,
    ):
        kept = Guest(server, "127.0.0.32")
        held.enter_context(kept.socket)
        kept.ask()
        assert kept.answer() == "One"
        admin = urlsplit(server.ready["admin"])
        with without_files(server):
            caller = socket.create_connection((admin.hostname or "", admin.port or 0), timeout=30)
            held.enter_context(caller)
            caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            paused = server.next_line()
            late = Guest(server, "127.0.0.32")
            held.enter_context(late.socket)
            late.ask()
            edit(fleet)
            refused = server.next_line()
            kept.ask()
            assert kept.answer() == "One", "open connections are served on"
        assert paused.startswith(
            "openimds: accepting connections paused once (Too many open files): callers wait"
        )
        assert refused == (
            "openimds: fleet file not applied: fleet.yaml: saw too many open files, expected a "
            "file that can be read; the previous fleet is still served, and the edit is tried "
            "again every 5 s.\n"
        )
        assert late.answer() == "One"
        assert caller.recv(15) == b"HTTP/1.1 200 OK"
        assert server.next_line() == f"openimds: {fleet}: 1 changes applied.\n"
        assert answer(server, "127.0.0.32") == "Two"
        assert metrics(server)["openimds_accept_pauses_total"] >= 2
        assert server.stop() == (0, "")
