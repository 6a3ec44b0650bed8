"""Units that systemd finds good, and the process as systemd starts, reloads and watches it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.system.machine import machine
from tests.system.process import COMMAND, clean_environment, serving

pytestmark = pytest.mark.system

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
SIZE = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
ASK = {"Metadata": "true"}
_FIRST = 3


def tool(name: str) -> str:
    """Return the path of a tool of systemd, or skip the test."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a command that is there."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("=openimds ", f"={Path(sys.executable).parent}/openimds ")
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", sorted(unit.name for unit in UNITS.iterdir()))
def test_systemd_finds_no_fault_with_a_unit(name: str, units: Path) -> None:
    analyze = tool("systemd-analyze")
    # The others are found beside it, those of the system after them.
    environment = clean_environment({"SYSTEMD_UNIT_PATH": f"{units}:"})
    words = [analyze, "verify", "--man=no", str(units / name)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("name, most", [("openimds.service", 1.4), ("openimds-host.service", 4.7)])
def test_a_service_is_exposed_as_little_as_it_was(name: str, most: float, units: Path) -> None:
    analyze = tool("systemd-analyze")
    words = [analyze, "security", "--offline=true", "--no-pager", str(units / name)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for .*: ([\d.]+) OK", checked.stdout)
    assert found, checked.stdout + checked.stderr
    assert float(found[1]) <= most


@contextmanager
def manager(folder: Path) -> Iterator[socket.socket]:
    """Hear what a service says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hears:
        hears.settimeout(20)
        hears.bind(str(folder / "notify"))
        yield hears


def heard(hears: socket.socket) -> str:
    """Return the next thing that is said and is no sign of life."""
    while True:
        said = hears.recv(1000).decode()
        if said != "WATCHDOG=1":
            return said


def test_a_service_says_when_it_is_ready_reloads_and_ends(tmp_path: Path) -> None:
    # A link to a file elsewhere: its edits are not seen, so that only the reload can show them.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    real = elsewhere / "fleet.yaml"
    real.write_text("vms: {a: {compute: {vmSize: before}}}")
    (tmp_path / "fleet.yaml").symlink_to(real)
    said = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with (
        manager(tmp_path) as hears,
        serving("--fleet", "fleet.yaml", cwd=tmp_path, **said) as server,
    ):
        assert heard(hears) == f"READY=1\nSTATUS=Answers at {server.url}"
        assert hears.recv(1000) == b"WATCHDOG=1"
        assert hears.recv(1000) == b"WATCHDOG=1"
        real.write_text("vms: {a: {compute: {vmSize: after}}}")
        assert httpx2.get(server.url + SIZE, headers=ASK).text == "before"
        os.kill(server.ready["pid"], 1)
        assert heard(hears).startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert heard(hears) == "READY=1"
        assert httpx2.get(server.url + SIZE, headers=ASK).text == "after"
        code, err = server.stop()
        assert heard(hears) == "STOPPING=1"
    assert (code, err) == (0, f"openimds: {tmp_path}/fleet.yaml: 1 changes applied.\n")


def test_a_bad_edit_is_told_and_the_service_is_ready_again(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("vms: {a: {}}")
    said = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with (
        manager(tmp_path) as hears,
        serving("--fleet", "fleet.yaml", cwd=tmp_path, **said) as server,
    ):
        assert heard(hears).startswith("READY=1")
        fleet.write_text("vms: {a: {comptue: {}}}")
        os.kill(server.ready["pid"], 1)
        assert heard(hears).startswith("RELOADING=1")
        assert heard(hears) == "READY=1"
        code, err = server.stop()
    assert code == 0
    assert 'saw unknown key "comptue"' in err
    assert "; the previous fleet is still served." in err


def test_without_a_fleet_file_a_reload_changes_nothing(tmp_path: Path) -> None:
    said = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with manager(tmp_path) as hears, serving(cwd=tmp_path, **said) as server:
        assert heard(hears).startswith("READY=1")
        os.kill(server.ready["pid"], 1)
        assert heard(hears).startswith("RELOADING=1")
        assert heard(hears) == "READY=1"
        assert httpx2.get(server.url + NAME, headers=ASK).text == "vm-1"
        assert server.stop() == (0, "")


def test_sockets_that_are_handed_in_are_served_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text(json.dumps({"vms": {"a": {}, "b": {}}}))
    names = ["imds", "vm.a", "vm.b", "admin", "public"]
    mine = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = dict(zip(names, (one.getsockname()[1] for one in mine), strict=True))
    program = (
        "import os, sys\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "for to, by in enumerate(map(int, sys.argv[1].split(',')), 3): os.dup2(by, to)\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    # High numbers, so that none is overwritten before it is copied.
    high = [os.dup2(one.fileno(), 100 + i) for i, one in enumerate(mine)]
    environment = clean_environment(
        {
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
            "XDG_STATE_HOME": str(tmp_path),
        }
    )
    command = [*COMMAND, "serve", "--fleet", "fleet.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, ",".join(map(str, high)), *command],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        pass_fds=high,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    for number, one in zip(high, mine, strict=True):
        os.close(number)
        one.close()
    try:
        assert process.stdout
        ready = json.loads(process.stdout.readline())
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        assert (ready["imds"], ready["admin"]) == (urls["imds"], urls["admin"])
        assert ready["public"] == urls["public"]
        answers = {name: httpx2.get(urls[name] + NAME, headers=ASK).text for name in names[:3]}
        assert answers == {"imds": '{"error":"Not found"}', "vm.a": "a", "vm.b": "b"}
        numbers = httpx2.get(f"{urls['admin']}/metrics").text
        assert 'openimds_requests_total{endpoint="instance",status="200"} 2.0' in numbers
        assert httpx2.get(f"{urls['public']}/healthz").status_code in (200, 404)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.netns
def test_systemd_itself_hands_in_the_socket_at_the_first_request(tmp_path: Path) -> None:
    activate = tool("systemd-socket-activate")
    with machine(tmp_path) as host:
        host.shell("ip address add 169.254.169.254/32 dev lo")
        words = (activate, "-l", "169.254.169.254:80", "--fdname=imds", *COMMAND, "serve")
        process = host.start(*words, "--admin", "none")
        try:
            assert process.stdout
            assert "Listening on 169.254.169.254:80" in process.stdout.readline()
            url = f"http://169.254.169.254{NAME}"
            assert host.run("curl", "-sS", "-H", "Metadata:true", url).stdout == "vm-1"
        finally:
            host.run("sh", "-c", "kill $(ss -Hltnp | grep -o 'pid=[0-9]*' | cut -c5-)", code=None)
            process.communicate(timeout=30)


_CONFINED = """
import ctypes, os, sys
refuse_gain, mdwe = 1, 65  # linux/prctl.h
if ctypes.CDLL(None).prctl(mdwe, refuse_gain, 0, 0, 0):
    print("without MemoryDenyWriteExecute", file=sys.stderr)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.netns
def test_a_server_needs_nothing_that_its_unit_takes_away(tmp_path: Path) -> None:
    setpriv = tool("setpriv")
    fleet = {"vms": {"a": {"identities": {"system": True}}}}
    none = (setpriv, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    with machine(tmp_path) as host:
        host.shell("mount -t proc -o subset=pid,hidepid=invisible proc /proc")
        confined = (*none, sys.executable, "-c", _CONFINED)
        with host.serving(fleet, "--state", "kept", before=confined) as server:
            for path in (
                "/metadata/instance?api-version=2021-02-01",
                "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a.b",
                "/metadata/attested/document?api-version=2020-09-01",
            ):
                words = ("curl", "-sSf", "-H", "Metadata:true", f"{server.ready['imds']}{path}")
                assert json.loads(host.run(*words).stdout)
            assert server.counter('openimds_requests_total{endpoint="token",status="200"}') == 1
            code, said = server.stop()
        assert (code, said.replace("without MemoryDenyWriteExecute\n", "")) == (0, "")
