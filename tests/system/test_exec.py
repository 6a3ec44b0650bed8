"""openimds exec by an ordinary user: the real address, streams, signals, no traces."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openimds.facts.protocols import EVERY_VARIABLE
from tests.support.waiting import until
from tests.system.sandboxes import CURL, NAME, URL, Network, Place, network, place

__all__ = ["network", "place"]
pytestmark = [pytest.mark.system, pytest.mark.netns]

BACKGROUND = """
sleep 300 &
setsid sleep 300 &
(sleep 300 &)
echo up
"""
REPORTING = """
import signal, sys
waited_for = [signal.Signals[name] for name in sys.argv[1:]]
signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
print("up", flush=True)
while (number := signal.sigwait(waited_for)) != signal.SIGALRM:
    print("got", signal.Signals(number).name, flush=True)
sys.exit(3)
"""
IGNORING = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_curl_gets_the_document_at_the_real_address(place: Place) -> None:
    got = place.run("--", *CURL, "-i", URL)
    assert (got.returncode, got.stderr) == (0, "")
    head, _, body = got.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\nContent-Type: application/json; charset=utf-8\n")
    assert json.loads(body)["compute"]["name"] == "vm-1"


def test_concurrent_runs_leave_no_traces(place: Place, network: Network) -> None:
    devices, files = network.devices(), place.files()
    assert place.processes() == set()
    waiting = f"read go && {' '.join(CURL)} '{NAME}'"
    runs = [place.start("--", "sh", "-c", f"echo up; {waiting}") for _ in range(2)]
    for running in runs:
        assert running.stdout
        assert running.stdout.readline() == "up\n"
    made = place.namespaces(without={running.pid for running in runs})
    # A supervisor, a server, an init process and a shell each.
    assert len(place.processes()) == 2 * 4
    # Of network, processes, mounts, and users.
    assert len(made) == 2 * 4
    assert network.devices() == devices
    assert [running.communicate("go\n", timeout=60) for running in runs] == [("vm-1", "")] * 2
    assert [running.returncode for running in runs] == [0, 0]
    assert place.processes() == set()
    assert (network.devices(), place.files()) == (devices, files)


@pytest.mark.parametrize("ends", ["COMMAND", "the supervisor is killed", "the server is killed"])
def test_background_processes_end_with_the_sandbox(
    ends: str, place: Place, network: Network
) -> None:
    devices, files = network.devices(), place.files()
    running = place.start("--", "sh", "-c", f"{BACKGROUND} read go")
    assert running.stdout
    assert running.stdout.readline() == "up\n"
    assert place.namespaces(without={running.pid})
    until(lambda: [*map(_name, place.processes())].count("sleep") == 3)
    if ends == "the supervisor is killed":
        running.kill()
    else:
        if ends == "the server is killed":
            leaders = {pid for pid in place.processes() if os.getsid(pid) == pid}
            (server,) = (pid for pid in leaders if _name(pid) != "sleep")
            os.kill(server, signal.SIGKILL)
            assert running.stderr
            assert running.stderr.readline() == (
                "openimds: the server has ended: requests of COMMAND get no response.\n"
            )
        assert running.communicate("go\n", timeout=60) == ("", "")
        # The kernel ends all processes of a sandbox before its init process is gone.
        assert place.processes() == set()
    until(lambda: not place.processes())
    running.communicate(timeout=60)
    assert running.returncode == (-signal.SIGKILL if ends == "the supervisor is killed" else 0)
    assert (network.devices(), place.files()) == (devices, files)


def _name(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code_is_that_of_the_command(code: int, place: Place) -> None:
    got = place.run("--", "sh", "-c", f"exit {code}")
    assert (got.returncode, got.stdout, got.stderr) == (code, "", "")


def test_exit_code_survives_a_parent_that_ignores_sigchld(place: Place) -> None:
    got = place.run("--", "sh", "-c", "exit 7", instead=(sys.executable, "-c", IGNORING))
    assert (got.returncode, got.stdout, got.stderr) == (7, "", "")


def test_exec_ends_by_the_signal_of_the_command(place: Place) -> None:
    files = place.files()
    got = place.run("--", "sh", "-c", "ulimit -c unlimited; kill -s SEGV $$")
    assert (got.returncode, got.stderr) == (-signal.SIGSEGV, "")
    assert {path.name for path in place.files() - files} <= {"core"}  # The core of COMMAND only.


@pytest.mark.parametrize(
    "name, code, reason",
    [
        ("no-such-command", 127, "no such command"),
        ("./no-such-file", 127, "no such command"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ],
)
def test_command_that_cannot_run_fails_as_in_a_shell(
    name: str, code: int, reason: str, place: Place
) -> None:
    got = place.run("--", name)
    assert (got.returncode, got.stdout, got.stderr) == (code, "", f"openimds: {name}: {reason}\n")


def test_signals_are_forwarded_to_the_command_once(place: Place) -> None:
    names = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH"]
    running = place.start("--", place.user.python, "-c", REPORTING, *names, "SIGALRM")
    assert running.stdout
    assert running.stdout.readline() == "up\n"
    for name in names:
        running.send_signal(signal.Signals[name])
        assert running.stdout.readline() == f"got {name}\n"
    running.send_signal(signal.SIGALRM)
    assert running.communicate(timeout=60) == ("", "")
    assert running.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signal_that_ends_the_command_ends_all(number: signal.Signals, place: Place) -> None:
    running = place.start("--", "sh", "-c", "echo up; exec sleep 300")
    assert running.stdout
    assert running.stdout.readline() == "up\n"
    running.send_signal(number)
    assert running.wait(60) == -number
    until(lambda: not place.processes())
    running.communicate()


def test_signal_before_the_command_ends_the_start(place: Place) -> None:
    # Reading a pipe without a writer keeps the server from being ready.
    os.mkfifo(place.folder / "hook.toml", 0o666)
    running = place.start("--scenario", "hook.toml", "--", "true")
    until(lambda: len(place.processes()) > 0)
    running.terminate()
    assert running.wait(60) == -signal.SIGTERM
    assert running.communicate() == ("", "")
    assert place.processes() == set()


def test_command_has_the_users_streams(place: Place) -> None:
    got = place.run(
        "--", "sh", "-c", "cat; echo error >&2; ls /proc/self/fd | wc -l", text="one\ntwo\n"
    )
    # Three streams, and the folder that ls lists.
    assert (got.stdout, got.stderr) == ("one\ntwo\n4\n", "error\n")


def test_command_inherits_descriptors_of_the_user(place: Place) -> None:
    reader, writer = os.pipe()
    running = subprocess.Popen(
        [*place.openimds, "exec", "--", "bash", "-c", f"echo there >&{writer}"],
        pass_fds=[writer],
        env=place.environment(),
        cwd=place.folder,
    )
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "there\n"
    assert running.wait(60) == 0


def test_command_has_the_users_ids_and_no_capabilities(place: Place) -> None:
    script = "id -u; id -g; grep CapEff /proc/self/status; pwd; umask; ulimit -Sn"
    inside = place.run("--", "sh", "-c", script).stdout.splitlines()
    outside = subprocess.run(
        [*place.user.become, "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=place.folder,
        env=place.environment(),
        check=True,
    )
    assert inside == outside.stdout.splitlines()
    assert inside[2] == "CapEff:\t0000000000000000"


def test_low_limit_of_open_files_is_not_reported(place: Place) -> None:
    limited = ["sh", "-c", 'ulimit -n 1024 && exec "$@"', "sh"]
    got = place.run("--", *CURL, NAME, instead=limited)
    assert (got.returncode, got.stdout, got.stderr) == (0, "vm-1", "")


def test_sandbox_network_has_only_loopback(place: Place) -> None:
    got = place.run("--", "cat", "/proc/net/dev", "/proc/net/route")
    devices = [line.split(":")[0].strip() for line in got.stdout.splitlines() if ":" in line]
    assert devices == ["lo"]
    assert len(got.stdout.splitlines()) == 2 + 1 + 1  # Two heads, lo, and no route.


def test_exec_sets_no_variable_of_the_token_protocols(place: Place) -> None:
    got = place.run("--", "env")
    names = {line.partition("=")[0] for line in got.stdout.splitlines()}
    assert "OPENIMDS_VM" in names
    assert names.isdisjoint(EVERY_VARIABLE)


def test_proxy_of_the_machine_is_bypassed(place: Place) -> None:
    got = place.run("--", *CURL, NAME, http_proxy="http://127.0.0.1:9", no_proxy="example.org")
    assert (got.returncode, got.stdout, got.stderr) == (0, "vm-1", "")
    shown = place.run("--", "sh", "-c", "echo $no_proxy; echo $NO_PROXY", no_proxy="example.org")
    assert shown.stdout == "example.org\n\n"
