"""systemd units, and the process as systemd starts, reloads and watches it."""

import fcntl
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

from tests.support.postgres import KEEPER, PostgresCluster, run
from tests.support.waiting import until
from tests.system.machine import Machine, machine
from tests.system.process import COMMAND, clean_environment, serving

pytestmark = pytest.mark.system

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
PAGES = UNITS.parents[1] / "docs" / "use"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
SIZE = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
CREDENTIALS = (
    "/metadata/instance?api-version=2021-02-01",
    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://a.b",
    "/metadata/attested/document?api-version=2020-09-01",
)
ASK = {"Metadata": "true"}
_FIRST = 3


def tool(name: str) -> str:
    """Return the path of a tool of systemd, or skip the test."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with the command of this checkout."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("=openimds ", f"={Path(sys.executable).parent}/openimds ")
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", sorted(unit.name for unit in UNITS.iterdir()))
def test_unit_is_verified_by_systemd(name: str, units: Path) -> None:
    analyze = tool("systemd-analyze")
    # Its dependencies are found beside it, then among the units of the system.
    environment = clean_environment({"SYSTEMD_UNIT_PATH": f"{units}:"})
    words = [analyze, "verify", "--man=no", str(units / name)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("page", ["host.md", "fleet-of-hosts.md"])
def test_page_names_units_that_exist(page: str) -> None:
    section = (PAGES / page).read_text("utf-8").partition("\n## systemd\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(openimds[\w@-]*\.(?:service|socket))`", section))
    assert {name.replace("@NAME.", "@.") for name in named} <= {one.name for one in UNITS.iterdir()}
    assert len(named) > 1


@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda path: path.name)
def test_unit_is_named_by_a_page(unit: Path) -> None:
    name = unit.name.replace("@.", "@NAME.")
    assert any(f"`{name}`" in page.read_text("utf-8") for page in PAGES.glob("*.md"))


@pytest.mark.parametrize("name", ["openimds-control.service", "openimds-fleet-host.service"])
def test_files_of_a_unit_are_named_by_the_page(name: str) -> None:
    page = (PAGES / "fleet-of-hosts.md").read_text("utf-8")
    files = set(re.findall(r"/etc/openimds/[\w.-]+", (UNITS / name).read_text()))
    assert len(files) > 1
    assert {file for file in files if f"`{file}`" not in page} == set()


@pytest.mark.parametrize(
    "name, most",
    [
        ("openimds.service", 1.4),
        ("openimds-host.service", 4.7),
        ("openimds-control.service", 1.4),
        ("openimds-fleet-host.service", 1.4),
        ("openimds-fleet-host-rules.service", 4.7),
    ],
)
def test_exposure_of_a_service_stays_low(name: str, most: float, units: Path) -> None:
    analyze = tool("systemd-analyze")
    words = [analyze, "security", "--offline=true", "--no-pager", str(units / name)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    level = re.search(r"Overall exposure level for .*: ([\d.]+) OK", checked.stdout)
    assert level, checked.stdout + checked.stderr
    assert float(level[1]) <= most


@contextmanager
def manager(folder: Path) -> Iterator[socket.socket]:
    """Listen at the notify socket of a service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(20)
        listening.bind(str(folder / "notify"))
        yield listening


def notification(listening: socket.socket) -> str:
    """Return the next notification but for the watchdog's."""
    while True:
        message = listening.recv(1000).decode()
        if message != "WATCHDOG=1":
            return message


def test_service_notifies_ready_reload_and_stop(tmp_path: Path) -> None:
    # The server looks twice a second and lets an edit settle: the reload shows it at once.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    real = elsewhere / "fleet.yaml"
    real.write_text("vms: {a: {compute: {vmSize: before}}}")
    (tmp_path / "fleet.yaml").symlink_to(real)
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with (
        manager(tmp_path) as notify,
        serving("--fleet", "fleet.yaml", cwd=tmp_path, **environment) as server,
    ):
        assert notification(notify) == f"READY=1\nSTATUS=Answers at {server.url}"
        assert notify.recv(1000) == b"WATCHDOG=1"
        assert notify.recv(1000) == b"WATCHDOG=1"
        assert httpx2.get(server.url + SIZE, headers=ASK).text == "before"
        real.write_text("vms: {a: {compute: {vmSize: after}}}")
        os.kill(server.ready["pid"], 1)
        assert notification(notify).startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert notification(notify) == "READY=1"
        assert httpx2.get(server.url + SIZE, headers=ASK).text == "after"
        code, err = server.stop()
        assert notification(notify) == "STOPPING=1"
    assert (code, err) == (0, f"openimds: {tmp_path}/fleet.yaml: 1 changes applied.\n")


def test_reload_of_a_bad_file_is_reported_and_ready_again(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("vms: {a: {}}")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with (
        manager(tmp_path) as notify,
        serving("--fleet", "fleet.yaml", cwd=tmp_path, **environment) as server,
    ):
        assert notification(notify).startswith("READY=1")
        fleet.write_text("vms: {a: {comptue: {}}}")
        os.kill(server.ready["pid"], 1)
        assert notification(notify).startswith("RELOADING=1")
        assert notification(notify) == "READY=1"
        code, err = server.stop()
    assert code == 0
    assert 'saw unknown key "comptue"' in err
    assert "; the previous fleet is still served." in err


def test_reload_without_a_fleet_file_changes_nothing(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with manager(tmp_path) as notify, serving(cwd=tmp_path, **environment) as server:
        assert notification(notify).startswith("READY=1")
        os.kill(server.ready["pid"], 1)
        assert notification(notify).startswith("RELOADING=1")
        assert notification(notify) == "READY=1"
        assert httpx2.get(server.url + NAME, headers=ASK).text == "vm-1"
        assert server.stop() == (0, "")


def test_inherited_sockets_are_served_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text(json.dumps({"vms": {"a": {}, "b": {}}}))
    names = ["imds", "vm.a", "vm.b", "admin", "public"]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = dict(zip(names, (listening.getsockname()[1] for listening in sockets), strict=True))
    program = (
        "import os, sys\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "for to, by in enumerate(map(int, sys.argv[1].split(',')), 3): os.dup2(by, to)\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    # High numbers, so that none is overwritten before it is copied.
    high = [fcntl.fcntl(sock, fcntl.F_DUPFD, 100) for sock in sockets]
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
    for number, listening in zip(high, sockets, strict=True):
        os.close(number)
        listening.close()
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
def test_systemd_passes_its_socket_at_the_first_request(tmp_path: Path) -> None:
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
def test_server_runs_with_the_restrictions_of_its_unit(tmp_path: Path) -> None:
    setpriv = tool("setpriv")
    fleet = {"vms": {"a": {"identities": {"system": True}}}}
    unprivileged = (setpriv, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    with machine(tmp_path) as host:
        host.shell("mount -t proc -o subset=pid,hidepid=invisible proc /proc")
        confined = (*unprivileged, sys.executable, "-c", _CONFINED)
        with host.serving(fleet, "--state", "kept", before=confined) as server:
            for path in CREDENTIALS:
                words = ("curl", "-sSf", "-H", "Metadata:true", f"{server.ready['imds']}{path}")
                assert json.loads(host.run(*words).stdout)
            assert server.counter('openimds_requests_total{endpoint="token",status="200"}') == 1
            code, err = server.stop()
        assert (code, err.replace("without MemoryDenyWriteExecute\n", "")) == (0, "")


@contextmanager
def unit(on: Machine, name: str, folder: Path, **more: str) -> Iterator[str]:
    """Run a unit's words on a machine with its variables and restrictions; yield its state."""
    text = (UNITS / name).read_text().replace("%d", str(folder)).replace("%H", "rack-1")
    variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE)) | more
    state = variables["OPENIMDS_STATE"] = str(on.folder / Path(variables["OPENIMDS_STATE"]).name)
    started = re.search(r"^ExecStart=openimds (.*)$", text, re.MULTILINE)
    assert started
    process = on.start(
        *("env", *(f"{name}={value}" for name, value in variables.items())),
        *(tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"),
        *(sys.executable, "-c", _CONFINED, *COMMAND, *started[1].split()),
    )
    pid = ""
    try:
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        ready = json.loads(next((line for line in lines if line.startswith('{"ready"')), "{}"))
        assert ready, process.communicate(timeout=30)
        pid = str(ready["pid"])
        yield state
        on.run("kill", "-s", "TERM", pid)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        if pid:
            on.run("kill", "-s", "KILL", pid, code=None)
        process.kill()
        process.communicate(timeout=30)


@pytest.mark.netns
def test_fleet_runs_with_the_restrictions_of_its_units(tmp_path: Path) -> None:
    folder, notices = tmp_path / "credentials", tmp_path / "notices"
    folder.mkdir()
    notices.mkdir()
    engine = PostgresCluster()
    try:
        run(engine.location(""), "CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 's3cret'")
        engine.folder.chmod(0o711)
        with machine(tmp_path) as host, manager(tmp_path) as notify, manager(notices) as other:
            host.shell("mount -t proc -o subset=pid,hidepid=invisible proc /proc")

            def credential(name: str, text: str) -> None:
                # As systemd makes them where an access list names the user of the service.
                host.run("install", "-m", "0440", "/dev/stdin", str(folder / name), text=text)

            credential("fleet.key", "ab" * 32)
            credential("store-password", "s3cret\n")
            store = f"postgresql://{KEEPER}@/postgres?host={engine.folder}"
            of_control = {
                "OPENIMDS_STORE": store,
                "OPENIMDS_PUBLIC": "none",
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "60000000",
            }
            of_host = {
                "OPENIMDS_CONTROL": "127.0.0.1:8172 127.0.0.1:9",
                "OPENIMDS_LISTEN": "127.0.0.1:8080",
                "NOTIFY_SOCKET": str(notices / "notify"),
            }
            with unit(host, "openimds-control.service", folder, **of_control) as state:
                assert notification(notify) == "READY=1\nSTATUS=Answers at http://127.0.0.1:8170"
                assert notify.recv(1000) == b"WATCHDOG=1"
                ready = "http://127.0.0.1:8170/readyz"
                until(lambda: host.run("curl", "-sf", ready, code=None).returncode == 0, 30)
                command = ("control", "host", "add", "rack-1", "--state", state)
                credential("join-token", host.openimds(*command).stdout)
                vm = {"host": "rack-1", "identities": {"system": True}}
                vms = {"vms": {"a": {**vm, "reach": {"address": ["127.0.0.1"]}}}}
                (tmp_path / "fleet.json").write_text(json.dumps(vms))
                host.openimds("vm", "put", "fleet.json", "--state", state)
                for _ in range(2):
                    with unit(host, "openimds-fleet-host.service", folder, **of_host):
                        answers = "READY=1\nSTATUS=Answers at http://127.0.0.1:8080"
                        assert notification(other) == answers
                        for path in CREDENTIALS:
                            url = f"http://127.0.0.1:8080{path}"
                            words = ("curl", "-sSf", "-H", "Metadata:true", url)
                            assert json.loads(host.run(*words).stdout)
                    assert notification(other) == "STOPPING=1"
                    # What systemd gives where the operator has removed the file of the token.
                    credential("join-token", "\n")
            assert notification(notify) == "STOPPING=1"
    finally:
        engine.stop()
        shutil.rmtree(engine.folder)
