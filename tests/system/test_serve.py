"""`openimds serve`: settings, listeners, fleets, signals, refusals at the start."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from openimds import __version__
from openimds.server.settings_check import NO_LOOP
from scripts.generate_docs import ROOT
from tests.system.process import COMMAND, clean_environment, run, serving

pytestmark = pytest.mark.system

INSTANCE = "/metadata/instance"
FLEET = """
defaults: {compute: {location: northeurope, tags: {team: web}}}
vms:
  web-1:
    compute: {vmSize: Standard_D2s_v5, tags: {env: prod}}
    reach: {address: [127.0.0.11]}
  web-2:
    reach: {address: [127.0.0.12], listen: ["127.0.0.1:0", "unix:SOCKET"]}
"""


def client(url: str, source: str | None = None) -> httpx2.Client:
    transport = httpx2.HTTPTransport(local_address=source)
    return httpx2.Client(base_url=url, headers={"Metadata": "true"}, transport=transport)


def test_default_server_serves_one_vm(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server:
        port = urlsplit(server.ready["admin"]).port
        assert server.ready == {
            "ready": True,
            "imds": server.url,
            "admin": server.ready["admin"],
            "token_file": str(tmp_path / "state" / "openimds" / f"admin-token-{port}"),
            "pid": server.process.pid,
            "public": server.ready["public"],
        }
        with client(server.url) as guest:
            got = guest.get(INSTANCE, params={"api-version": "2021-02-01"})
        assert got.status_code == 200
        assert got.headers["server"] == "IMDS/150.870.65.1854"
        assert got.json()["compute"]["name"] == "vm-1"
        code, err = server.stop()
    assert (code, err) == (0, "")


@contextmanager
def banner(cwd: Path, *arguments: str) -> Iterator[str]:
    """Serve on a terminal; yield the lines that it shows."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "serve", "--admin", "none", "--public", "none", *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=clean_environment({"HOME": str(cwd), "TERM": "dumb"}),
    )
    os.close(terminal)
    shown = ""
    try:
        while "Ctrl-C ends it." not in shown:
            shown += os.read(screen, 4096).decode()
        yield shown.replace("\r", "")
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def answer(line: str) -> Any:
    return json.loads(subprocess.check_output(line, shell=True))


def test_lines_shown_on_a_terminal_are_those_of_the_readme(tmp_path: Path) -> None:
    with banner(tmp_path, "--listen", "127.0.0.1:0") as shown:
        document, token = re.findall(r"^  (curl .*)$", shown, re.MULTILINE)
        readme = (ROOT / "README.md").read_text("utf-8").splitlines()
        pasted = [re.sub(r":\d+/", ":8169/", line) for line in (document, token)]
        assert [line for line in pasted if line not in readme] == []
        assert answer(document)["compute"]["name"] == "vm-1"
        assert answer(token)["access_token"].count(".") == 2


def test_line_of_each_of_the_first_vms_works_as_shown(tmp_path: Path) -> None:
    reaches = [
        {"address": ["10.255.255.1", "127.0.0.31"]},
        {"listen": [f"unix:{tmp_path / 'a b.sock'}"]},
        {"listen": ["127.0.0.1:0"], "address": ["10.255.255.3"]},
        {"address": ["127.0.0.34"]},
    ]
    vms = {f"web-{place}": {"reach": reach} for place, reach in enumerate(reaches, 1)}
    (tmp_path / "fleet.json").write_text(json.dumps({"vms": vms}))
    with banner(tmp_path, "--listen", "127.0.0.1:0", "--fleet", "fleet.json") as shown:
        lines = re.findall(r"^(\S+):\n\n  (curl .*)$", shown, re.MULTILINE)
        assert [name for name, _ in lines] == ["web-1", "web-2", "web-3"]
        assert [answer(line)["compute"]["name"] for _, line in lines] == [
            "web-1",
            "web-2",
            "web-3",
        ]


def test_vms_are_identified_and_unknown_callers_reported(tmp_path: Path) -> None:
    path = tmp_path / "web-2.sock"
    (tmp_path / "fleet.yaml").write_text(FLEET.replace("SOCKET", str(path)))
    leaf = f"{INSTANCE}/compute/name?api-version=2021-02-01&format=text"
    with serving("--fleet", "fleet.yaml", cwd=tmp_path) as server:
        for source, status, body in [
            ("127.0.0.11", 200, "web-1"),
            ("127.0.0.12", 200, "web-2"),
            ("127.0.0.13", 404, '{"error":"Not found"}'),
        ]:
            with client(server.url, source) as guest:
                got = guest.get(leaf)
            assert (got.status_code, got.text) == (status, body)
        unix = httpx2.HTTPTransport(uds=str(path))
        with httpx2.Client(transport=unix, headers={"Metadata": "true"}) as guest:
            assert guest.get(f"http://x{leaf}").text == "web-2"
        code, err = server.stop()
    assert code == 0
    assert err == (
        "openimds: unknown caller 127.0.0.13: no VM has this address, so it gets 404. To serve it, "
        "add the address to reach.address of its VM.\n"
    )
    assert not path.exists()


def test_rate_limit_is_on_unless_switched_off(tmp_path: Path) -> None:
    for switch, late in (("--rate-limit", 429), ("--no-rate-limit", 200)):
        with serving(switch, cwd=tmp_path) as server, client(server.url) as guest:
            got = [guest.get("/metadata/versions").status_code for _ in range(6)]
        assert got == [200] * 5 + [late]


def test_a_captured_document_is_served(tmp_path: Path) -> None:
    body = {"compute": {"name": "real", "vmId": "ID", "newThing": "x"}, "network": {}}
    (tmp_path / "captured").write_text(json.dumps(body))
    with serving("--document", "captured", cwd=tmp_path) as server:
        with client(server.url) as guest:
            got = guest.get(INSTANCE, params={"api-version": "2023-07-01"}).json()
        _, err = server.stop()
    assert (got["compute"]["name"], got["compute"]["vmId"]) == ("real", "ID")
    assert err == (
        "openimds: captured: compute.newThing is in no api-version known here and is not served.\n"
    )


def test_settings_come_from_flag_then_environment_then_file(tmp_path: Path) -> None:
    (tmp_path / "openimds.toml").write_text('newest_version = "2021-02-01"\nrate_limit = false\n')
    newest = []
    for arguments, environment in [
        ((), {}),
        ((), {"OPENIMDS_NEWEST_VERSION": "2021-01-01"}),
        (("--newest-version", "2020-12-01"), {"OPENIMDS_NEWEST_VERSION": "2021-01-01"}),
    ]:
        with (
            serving(*arguments, cwd=tmp_path, **environment) as server,
            client(server.url) as guest,
        ):
            newest.append(guest.get("/metadata/versions").json()["apiVersions"][-1])
    assert newest == ["2021-02-01", "2021-01-01", "2020-12-01"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_server_with_connections_open(tmp_path: Path, number: int) -> None:
    with serving(cwd=tmp_path) as server, client(server.url) as guest:
        assert guest.get("/metadata/versions").status_code == 200
        os.kill(server.process.pid, number)
        assert server.process.wait(30) == 0


def test_choice_of_a_loop_has_no_effect_and_says_so(tmp_path: Path) -> None:
    with serving("--loop", "uvloop", cwd=tmp_path) as server, client(server.url) as guest:
        assert guest.get("/metadata/versions").status_code == 200
        assert server.stop() == (0, f"openimds: {NO_LOOP}.\n")


BAD = [
    (["--fleet", "none.yaml"], "none.yaml: saw no such file or directory, expected a file that"),
    (["--fleet", "bad.yaml"], 'bad.yaml: vms.a.compute: saw unknown key "vmsize". Did you mean'),
    (["--fleet", "bad.yaml", "--document", "x"], "--document: saw both bad.yaml and x, expected"),
    (["--document", "bad.yaml"], "bad.yaml: top level: saw a mapping with vms, expected the body"),
    (["--newest-version", "2020"], '--newest-version: saw "2020", expected one of 2017-03-01'),
    (["--listen", "nonsense"], 'listen: saw "nonsense", expected HOST:PORT'),
    (["--general-per-s", "0"], '--general-per-s: saw "0", expected a whole number of at least 1'),
    (["--admin", "x"], 'admin: saw "x", expected HOST:PORT'),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_configuration_exits_2_with_one_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "bad.yaml").write_text("vms: {a: {compute: {vmsize: x}}}")
    got = run("serve", *arguments, cwd=tmp_path)
    assert got.returncode == 2
    assert got.stdout == ""
    assert got.stderr.startswith(f"openimds: {message}")
    assert got.stderr.count("\n") == 1


def test_bad_setting_is_named_with_its_source(tmp_path: Path) -> None:
    got = run("serve", cwd=tmp_path, OPENIMDS_RATE_LIMIT="maybe")
    assert got.stderr == 'openimds: OPENIMDS_RATE_LIMIT: saw "maybe", expected true or false\n'
    (tmp_path / "openimds.toml").write_text("ratelimit = true")
    got = run("serve", cwd=tmp_path)
    assert got.stderr.startswith(
        'openimds: openimds.toml: saw unknown key "ratelimit". Did you mean "rate_limit"? Expected'
    )
    got = run("serve", cwd=tmp_path, OPENIMDS_CONFIG="other.toml")
    assert got.stderr == (
        "openimds: other.toml: saw no such file or directory, expected a file that can be read\n"
    )


def test_a_bad_value_in_a_named_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('general_per_s = "many"')
    got = run("serve", cwd=tmp_path, OPENIMDS_CONFIG="other.toml")
    message = 'other.toml: general_per_s: saw "many", expected a whole number of at least 1'
    assert got.stderr == f"openimds: {message}\n"


def test_a_burst_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    got = run("serve", "--general-burst", "999999999999999", cwd=tmp_path)
    assert got.returncode == 2
    assert "expected at most 10000: each VM stores the times of so many requests" in got.stderr


def test_a_port_in_use_exits_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        got = run("serve", "--listen", f"127.0.0.1:{port}", cwd=tmp_path)
    assert got.returncode == 2
    assert "in use" in got.stderr


def test_version_prints_the_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"openimds, version {__version__}\n"
