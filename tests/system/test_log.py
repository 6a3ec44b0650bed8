"""The log of a running server: complete, without secrets, and waited for by nobody."""

import base64
import fcntl
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.log_lines import records
from tests.system.process import COMMAND, Server, clean_environment, next_line, run, serving
from tests.system.test_admin import SIZE
from tests.system.test_admin import admin as admin_of
from tests.system.test_admin import guest as guest_of

pytestmark = pytest.mark.system

MARK = "s3cr3tvalue"
DATA = base64.b64encode(f"{MARK} and more".encode()).decode()
SECRETS = (MARK, DATA)
FORGED = 'x\n{"level":"error","event":"forged"}\r\nlevel=error event=forged\x1b[2J'


def admin(server: Server) -> httpx2.Client:
    """Return a client of the admin API that waits for a machine under load."""
    client = admin_of(server)
    client.timeout = httpx2.Timeout(50)
    return client


def guest(url: str, source: str) -> httpx2.Client:
    """Return a guest that waits for a machine under load."""
    client = guest_of(url, source)
    client.timeout = httpx2.Timeout(50)
    return client


def vm(**more: Any) -> dict[str, Any]:
    """Return a VM with a secret in every member that may have one."""
    return {
        "compute": {"userData": DATA, "customData": DATA},
        "identities": {
            "system": True,
            "details": {"system": {"claims": {"x": MARK}}},
        },
        "reach": {"address": ["127.0.0.21"]},
        **more,
    }


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_life_of_a_server_is_in_its_log(tmp_path: Path, processes: str) -> None:
    with (
        serving("--state", "kept", "--processes", processes, cwd=tmp_path) as server,
        admin(server) as api,
    ):
        api.put("/v1/vms/web", json={}).raise_for_status()
        api.post("/v1/faults", json={"effect": "hang"}).raise_for_status()
        api.delete("/v1/faults").raise_for_status()
        code, text = server.stop_with_log()
    lines = records(text)
    assert code == 0
    assert text.count("\n") == len(lines)
    assert events(lines) == [
        *("server.starting", "server.ready", "admin.action"),
        *("fault.set", "admin.action", "fault.cleared", "admin.action"),
        *("server.stopping", "server.stopped"),
    ]
    assert "state=kept" in lines[0]["settings"]
    assert (lines[2]["who"], lines[2]["target"], lines[2]["status"]) == ("local", "web", 201)
    assert lines[-2]["reason"] == "SIGTERM"


def test_metrics_count_the_lines_of_both_processes(tmp_path: Path) -> None:
    with serving("--log-level", "debug", cwd=tmp_path) as server, admin(server) as api:
        api.get("/v1/vms").raise_for_status()
        text = api.get("/metrics").text
        assert 'openimds_log_lines_total{level="info",role="host"} 2.0' in text
        assert 'openimds_log_lines_total{level="debug",role="control"} 1.0' in text
        assert 'openimds_log_lines_lost_total{role="host"} 0.0' in text


def test_no_secret_is_in_any_line(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text('{"vms": {"one": {}}}')
    options = ("--fleet", "fleet.json", "--log-level", "debug", "--access-log", "all")
    hook = f"http://127.0.0.1:9/{MARK}?sig={MARK}"
    with (
        serving(*options, "--event-hook", hook, cwd=tmp_path) as server,
        admin(server) as api,
        guest(server.url, "127.0.0.21") as caller,
    ):
        assert api.put("/v1/vms/web", json=vm()).status_code == 201
        for bad in (
            vm(compute={"userData": [DATA]}),
            vm(compute={"customData": {"x": MARK}}),
            vm(identities={"system": MARK}),
            vm(identities={"details": {"system": {"claims": {"iss": MARK}}}}),
            {MARK: 1},
        ):
            assert api.put(f"/v1/vms/web?token={MARK}", json=bad).status_code >= 400
        for headers in (
            {"Authorization": f"Bearer {MARK}"},
            {"Authorization": f"Basic {DATA}", "Cookie": MARK},
            {"Host": "evil.example", "If-Match": MARK, "X-Secret": MARK},
        ):
            assert api.get("/v1/vms", headers=headers).status_code >= 400
        new = api.post("/v1/tokens", json={"name": "dashboard", "role": "read"})
        new.raise_for_status()
        api.post("/v1/events", json={"type": "Reboot", "vms": ["web"], "description": MARK})
        for headers in ({"X-Identity-Header": MARK}, {"Authorization": MARK, "Secret": MARK}):
            caller.get(f"{SIZE}&access_token={MARK}&sig={MARK}", headers=headers)
        token = caller.get(
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a"
        ).json()["access_token"]
        bad_file = {"vms": {"one": {"compute": {"userData": {"x": MARK}}}}}
        (tmp_path / "fleet.json").write_text(str(bad_file).replace("'", '"'))
        assert server.process.stderr
        seen = ""
        while "fleet.rejected" not in seen:
            seen += next_line(server.process.stderr.fileno())
        own = Path(server.ready["token_file"]).read_text().strip()
        text = seen + server.stop_with_log()[1]
    assert {"admin.denied", "guest.request"} <= {*events(records(text))}
    for secret in (*SECRETS, token, token.rpartition(".")[2], own, new.json()["token"]):
        assert secret not in text, secret


def test_guest_and_operator_forge_no_line(tmp_path: Path) -> None:
    with (
        serving("--log-format", "logfmt", "--access-log", "all", cwd=tmp_path) as server,
        admin(server) as api,
        guest(server.url, "127.0.0.1") as caller,
    ):
        from urllib.parse import quote

        caller.get(
            f"/metadata/{quote(FORGED)}", headers={"User-Agent": "x level=error event=forged"}
        )
        api.put(f"/v1/vms/{quote(FORGED)}", json={})
        _, text = server.stop_with_log()
    lines = text.splitlines()
    assert all(line.startswith("time=20") for line in lines)
    assert "\x1b" not in text
    assert not any(" event=forged" in line.partition('"')[0] for line in lines)


def test_pipe_that_nobody_reads_stops_no_answer(tmp_path: Path) -> None:
    options = ("--log-level", "debug", "--access-log", "all", "--no-rate-limit")
    with (
        serving(*options, cwd=tmp_path) as server,
        admin(server) as api,
        guest(server.url, "127.0.0.1") as caller,
    ):
        shrink(server)
        # Many more lines than the pipe takes: the writers of both processes wait for a reader.
        for _ in range(60):
            assert api.get("/v1/vms").status_code == 200
            assert caller.get(SIZE).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


def shrink(server: Server) -> None:
    """Have the pipe of stderr take as few bytes as a pipe can."""
    assert server.process.stderr
    fcntl.fcntl(server.process.stderr.fileno(), fcntl.F_SETPIPE_SZ, 4096)


def test_journal_gets_priorities_and_no_time(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("wb") as journal:
        status = os.fstat(journal.fileno())
        stream = f"{status.st_dev}:{status.st_ino}"
        words = ["serve", "--listen", "127.0.0.1:0", "--admin", "none", "--public", "none"]
        process = subprocess.Popen(
            [*COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=journal,
            cwd=tmp_path,
            env=clean_environment({"JOURNAL_STREAM": stream}),
        )
        assert process.stdout
        assert process.stdout.readline()
        process.terminate()
        process.communicate(timeout=30)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert [line[:4] for line in lines] == ["<6>{"] * 4
    assert '"time"' not in lines[0]


def test_mistake_of_a_start_is_printed_as_before(tmp_path: Path) -> None:
    got = run("serve", "--fleet", "none.yaml", cwd=tmp_path)
    assert got.returncode == 2
    assert got.stderr.startswith("openimds: none.yaml: saw no such file or directory")
