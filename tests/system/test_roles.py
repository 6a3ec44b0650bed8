"""Control and host as two processes: guests are served without control, too."""

import os
import resource
import signal
import time
from pathlib import Path

import httpx2
import pytest

from openimds.fleet.store.state import WAIT_S
from tests.support.waiting import until
from tests.system.process import Server, run, serving

NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
HEADERS = {"Metadata": "true"}


def control_of(server: Server) -> int:
    """Return the id of the child process."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    (child,) = children.read_text().split()
    return int(child)


def is_running(process: int) -> bool:
    """Return whether a process is there; a look into /proc fails when it ends meanwhile."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(server: Server, *texts: str) -> None:
    """Wait for a message with one of these texts."""
    line = ""
    while not any(text in line for text in texts):
        line = server.next_line()


def name_of(server: Server) -> str:
    return httpx2.get(server.url + NAME, headers=HEADERS).text


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text("vms: {web: {reach: {address: [127.0.0.1]}}}\n")
    return path


def test_killed_control_starts_anew_while_guests_are_served(tmp_path: Path, fleet: Path) -> None:
    with serving("--fleet", str(fleet), "--state", "kept", cwd=tmp_path) as server:
        put = run("vm", "patch", "web", "-", cwd=tmp_path, **server.variables)
        assert put.returncode != 0  # No patch on stdin: nothing has changed.
        first = control_of(server)
        os.kill(first, signal.SIGKILL)
        assert name_of(server) == "web"
        assert "guests are served on" in server.next_line()
        assert "control runs again" in server.next_line()
        assert control_of(server) != first
        admin = httpx2.get(server.ready["admin"] + "/readyz")
        assert admin.json() == {"status": "ready"}
        metrics = httpx2.get(server.ready["admin"] + "/metrics").text
        assert "openimds_control_restarts_total 1.0" in metrics
        assert server.stop() == (0, "")


def test_changes_outlive_control_without_a_state_folder(tmp_path: Path) -> None:
    with serving("--no-rate-limit", cwd=tmp_path) as server:
        body = {"compute": {"tags": {"env": "prod"}}, "reach": {"address": ["127.0.0.1"]}}
        url = server.ready["admin"] + "/v1/vms/web"
        assert httpx2.put(url, json=body, headers=server.authorization).status_code == 201
        os.kill(control_of(server), signal.SIGKILL)
        assert "guests are served on" in server.next_line()
        assert "control runs again" in server.next_line()
        found = httpx2.get(url, headers=server.authorization).json()
        assert found["compute"]["tags"] == {"env": "prod"}
        assert name_of(server) == "web"


def test_request_of_an_operator_waits_while_control_starts_anew(
    tmp_path: Path, fleet: Path
) -> None:
    with serving("--fleet", str(fleet), cwd=tmp_path) as server:
        os.kill(control_of(server), signal.SIGKILL)
        assert httpx2.get(server.ready["admin"] + "/healthz", timeout=30).status_code == 200


def test_state_folder_of_a_killed_host_is_free_for_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        with serving("--state", "kept", cwd=tmp_path) as server:
            child = control_of(server)
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(30)
        until_s = time.monotonic() + WAIT_S
        while is_running(child) and time.monotonic() < until_s:
            os.sched_yield()
        assert not is_running(child)


def test_signals_to_the_whole_group_end_both(tmp_path: Path) -> None:
    with serving("--state", "kept", cwd=tmp_path) as server:
        child = control_of(server)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child, number)  # They are for the host.
        assert httpx2.get(server.ready["admin"] + "/readyz").status_code == 200
        assert server.stop() == (0, "")
        assert not is_running(child)


def test_control_without_a_file_descriptor_tries_its_work_again(
    tmp_path: Path, fleet: Path
) -> None:
    with serving("--fleet", str(fleet), "--no-rate-limit", cwd=tmp_path) as server:
        child = control_of(server)
        before = resource.prlimit(child, resource.RLIMIT_NOFILE)
        resource.prlimit(child, resource.RLIMIT_NOFILE, (3, before[1]))
        fleet.write_text("vms: {two: {reach: {address: [127.0.0.1]}}}\n")
        wait_for(server, "fleet file not applied")
        assert name_of(server) == "web"
        resource.prlimit(child, resource.RLIMIT_NOFILE, before)
        wait_for(server, "1 changes applied", "2 changes applied")
        assert name_of(server) == "two"
        assert server.stop() == (0, "")


def test_mistake_in_the_fleet_file_ends_the_start_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("vms: {web: {compute: {vmsize: x}}}\n")
    ended = run("serve", "--fleet", "fleet.yaml", "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert ended.returncode == 2
    assert "vms.web.compute" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [1, 2])
def test_number_of_processes_is_that_of_the_setting(tmp_path: Path, number: int) -> None:
    with serving("--processes", str(number), cwd=tmp_path) as server:
        task = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        assert len(task.read_text().split()) == number - 1
        assert name_of(server) == "vm-1"
        assert server.stop() == (0, "")


def test_killed_host_leaves_no_temporary_folder(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with serving(cwd=tmp_path, TMPDIR=str(temporary)) as server:
        (folder,) = temporary.iterdir()
        assert (folder / "fleet.db").exists()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(30)
    until(lambda: not any(temporary.iterdir()))
