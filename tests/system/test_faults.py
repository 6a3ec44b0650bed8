"""Faults of the real process: from files and the admin API, repeatable by seed."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from openimds.facts.faults import EFFECTS
from tests.system.process import Server, run, serving

pytestmark = pytest.mark.system

DOCUMENT = "/metadata/instance?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
VERSIONS = "/metadata/versions"
FLEET = """
vms: {web-1: {identities: {system: true}}}
faults:
  - {effect: status, status: 503, endpoint: versions, first: 2}
  - {playbook: old-region, vms: [web-1]}
"""
WINDOW = {"effect": "status", "status": 410, "endpoint": "versions", "until_s": 70}


@contextmanager
def serving_faults(
    *arguments: str, cwd: Path
) -> Iterator[tuple[Server, httpx2.Client, httpx2.Client]]:
    """Serve; yield the server, its admin API, and a guest."""
    with (
        serving("--no-rate-limit", "--virtual-clock", *arguments, cwd=cwd) as server,
        httpx2.Client(base_url=server.ready["admin"], headers=server.authorization) as api,
        httpx2.Client(base_url=server.url, headers={"Metadata": "true"}) as guest,
    ):
        yield server, api, guest


def faults(api: httpx2.Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.get("/v1/faults").raise_for_status().json()["items"]
    return items


def played(api: httpx2.Client) -> dict[str, int]:
    samples = re.findall(
        r'openimds_faults_played_total{effect="(.*)"} (\d+)', api.get("/metrics").text
    )
    return {effect: int(number) for effect, number in samples}


def test_faults_of_a_file_are_counted_and_follow_its_edits(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    with serving_faults("--fleet", "fleet.yaml", cwd=tmp_path) as (server, api, guest):
        assert [guest.get(VERSIONS).status_code for _ in range(3)] == [503, 503, 200]
        got = guest.get(DOCUMENT)
        assert got.status_code == 400
        assert got.json()["newest-versions"] == ["2020-10-01", "2020-09-01", "2020-07-15"]
        assert played(api) == {"status": 2, "unknown-version": 2}
        assert [(fault["origin"], fault["effect"], fault["seen"]) for fault in faults(api)] == [
            ("file", "status", 3),
            ("file", "unknown-version", 4),
        ]
        file.write_text(FLEET.replace("playbook: old-region, vms: [web-1]", "effect: resett"))
        assert server.next_line() == (
            "openimds: fleet file not applied: fleet.yaml: faults[1].effect: saw the string "
            f'"resett". Did you mean "reset"? Expected one of {", ".join(EFFECTS)}; the previous '
            "fleet is still served.\n"
        )
        file.write_text(FLEET.replace("[web-1]}", "[web-2]}"))
        assert server.next_line() == (
            "openimds: fleet file not applied: fleet.yaml: faults.vms: saw "
            'unknown VM "web-2". Did you mean "web-1"? Expected names of VMs that are served; '
            "the previous fleet is still served.\n"
        )
        assert len(faults(api)) == 2
        file.write_text(FLEET.partition("  - {playbook")[0].replace("web-1", "web-3"))
        assert "changes applied" in server.next_line()
        # The unchanged fault keeps its counters: its two requests are over.
        assert [(fault["id"], fault["seen"]) for fault in faults(api)] == [("1", 3)]
        assert guest.get(DOCUMENT).status_code == 200
        assert server.stop() == (0, "")


def test_a_fault_for_a_vm_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET.replace("[web-1]}", "[web-2]}"))
    got = run("serve", "--fleet", "fleet.yaml", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert got.returncode == 2
    assert got.stderr.startswith('openimds: fleet.yaml: faults.vms: saw unknown VM "web-2"')


def test_fault_of_the_admin_api_keeps_its_window_after_a_restart(tmp_path: Path) -> None:
    arguments = ("--state", "kept")
    with serving_faults(*arguments, cwd=tmp_path) as (server, api, guest):
        api.post("/v1/clock", json={"rate": 0}).raise_for_status()
        assert api.post("/v1/faults", json=WINDOW).status_code == 201
        api.post("/v1/clock", json={"advance_s": 60}).raise_for_status()
        assert guest.get(VERSIONS).status_code == 410
        assert server.stop() == (0, "")
    with serving_faults(*arguments, cwd=tmp_path) as (server, api, guest):
        assert guest.get(VERSIONS).status_code == 410
        (fault,) = faults(api)
        assert (fault["id"], fault["seen"], fault["played"]) == ("1", 1, 1)
        api.post("/v1/clock", json={"advance_s": 10}).raise_for_status()
        assert guest.get(VERSIONS).status_code == 200
        assert api.delete("/v1/faults").status_code == 204
        assert server.stop() == (0, "")
    with serving_faults(*arguments, cwd=tmp_path) as (server, api, _):
        assert faults(api) == []
        assert server.stop() == (0, "")


SEEDED = [
    {"effect": "status", "status": 429, "probability": 0.3, "seed": "tuesday"},
    {"effect": "garbage", "probability": 0.3, "seed": "tuesday", "bytes": 40},
    {"effect": "cut", "probability": 0.3, "seed": "tuesday", "keep_bytes": 7},
    {"effect": "reset", "probability": 0.1, "seed": "tuesday"},
]
CHANGING = re.compile(rb"(x-ms-request-id|Date): [^\r]*")


def responses(server: Server, number: int) -> list[bytes]:
    """Return the bytes of responses, a connection for each, without date and request id."""
    received = []
    host, port = server.url.removeprefix("http://").split(":")
    request = (
        f"GET {DOCUMENT} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\nConnection: close\r\n\r\n"
    )
    for _ in range(number):
        data = b""
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request.encode())
            try:
                while piece := connection.recv(65536):
                    data += piece
            except ConnectionResetError:
                data += b"(reset)"
        received.append(CHANGING.sub(rb"\1", data))
    return received


def test_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    runs = []
    for _ in range(2):
        with serving_faults(cwd=tmp_path) as (server, api, _guest):
            for fault in SEEDED:
                api.post("/v1/faults", json=fault).raise_for_status()
            runs.append(responses(server, 40))
            counted = played(api)
            assert server.stop() == (0, "")
    first, second = runs
    assert first == second
    assert counted.keys() == {fault["effect"] for fault in SEEDED}
    assert len(set(first)) > 8  # Each response of garbage differs.


def test_hanging_connection_does_not_delay_the_stop(tmp_path: Path) -> None:
    with serving_faults(cwd=tmp_path) as (server, api, _guest):
        api.post("/v1/faults", json={"effect": "hang"}).raise_for_status()
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /metadata/versions HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not played(api):
                pass
            assert server.stop() == (0, "")
            assert connection.recv(1) == b""


def test_faults_are_set_and_cleared_from_the_command_line(tmp_path: Path) -> None:
    with serving_faults(cwd=tmp_path) as (server, api, guest):
        where = server.variables
        created = run("fault", "set", "status", "status=500", "first=1", cwd=tmp_path, **where)
        assert (created.returncode, created.stdout) == (0, "1\n")
        assert [guest.get(VERSIONS).status_code for _ in range(2)] == [500, 200]
        shown = run("fault", "list", cwd=tmp_path, **where)
        assert shown.stdout.splitlines()[1] == "1\tstatus\t2\t1\tapi\tfirst=1 status=500"
        assert run("fault", "clear", cwd=tmp_path, **where).returncode == 0
        wrong = run("fault", "set", "status", "status=500", "--vm", "x", cwd=tmp_path, **where)
        assert wrong.returncode == 1
        assert 'vms: saw unknown VM "x"' in wrong.stderr
        assert faults(api) == []
        assert server.stop() == (0, "")
