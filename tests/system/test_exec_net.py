"""openimds exec --net host, on a simulated machine whose traffic stays in it."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.support.waiting import until
from tests.system.sandboxes import CURL, NAME, Place, place

__all__ = ["place"]
pytestmark = [pytest.mark.system, pytest.mark.netns]

ALONE = ["unshare", "-Urnmpf", "--mount-proc", "--kill-child"]
MACHINE = """
mkfifo born moved
ip link set lo up
ip link add v0 type veth peer name v1
ip address add 10.9.9.9/24 dev v0
ip link set v0 up
unshare -n sh -ec '
    echo > born
    read _ < moved
    ip link set lo up
    ip address add 10.9.9.2/24 dev v1
    ip link set v1 up
    exec "$PYTHON" -m http.server 7001 --bind 10.9.9.2 -d far
' > /dev/null 2>&1 &
read _ < born
ip link set v1 netns $!
echo > moved
ip route add default via 10.9.9.1
# A cloud that answers at these addresses, as the real machine may have one.
ip route add 169.254.1.1/32 via 10.9.9.2
ip route add 168.63.129.16/32 via 10.9.9.2
"$PYTHON" -m http.server 7002 --bind 127.0.0.1 -d near > /dev/null 2>&1 &
"$PYTHON" names.py &
echo 'nameserver 127.0.0.53' > resolv.conf
mount --bind resolv.conf /etc/resolv.conf
for url in http://10.9.9.2:7001 http://127.0.0.1:7002; do
    until curl -s -o /dev/null $url; do kill -0 $! || exit 1; sleep 0.02; done
done
"""
"""The machine is 10.9.9.9; 10.9.9.2 is another, far.example for its name server."""
NAMES = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(0, 12) + 5
    is_ipv4 = query[end - 4 : end - 2] == bytes([0, 1])
    answer = bytes([192, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 9, 9, 2]) if is_ipv4 else b""
    head = query[:2] + bytes([129, 128, 0, 1, 0, is_ipv4, 0, 0, 0, 0])
    server.sendto(head + query[12:end] + answer, client)
"""
ORDINARY = "exec unshare -U --map-user=1000 --map-group=1000 "


@pytest.fixture
def machine(place: Place) -> Place:
    """A place with the files of the machine."""
    if not shutil.which("pasta"):
        pytest.skip("pasta is not installed: apt-get install passt")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is closed to this user: pasta cannot work")
    # The root of the machine is this user, without rights over the files of others.
    os.chown(place.folder, os.geteuid(), -1)
    for name in ("far", "near"):
        (place.folder / name).mkdir()
        (place.folder / name / "word").write_text(f"{name}\n")
    (place.folder / "names.py").write_text(NAMES)
    return place


def on_it(place: Place, script: str, become: str = ORDINARY) -> "subprocess.CompletedProcess[str]":
    """Run a script on the machine, as its root or as an ordinary user."""
    python = place.user.python
    whole = f"{MACHINE}\n{become} sh -ec '{script}'"
    return subprocess.run(
        [*ALONE, "sh", "-ec", whole],
        capture_output=True,
        text=True,
        cwd=place.folder,
        env={**place.environment(), "PYTHON": python, "EXEC": f"{python} -m openimds exec"},
        timeout=60,
        check=False,
    )


def test_online_sandbox_reaches_the_network_and_our_imds(machine: Place) -> None:
    script = f"""
        for url in 10.9.9.2:7001 far.example:7001 127.0.0.1:7002; do curl -sS $url/word; done
        {" ".join(CURL)} "{NAME}"; echo
        for host in 169.254.1.1 168.63.129.16; do curl -s $host; echo $?; done
    """
    (machine.folder / "asked.sh").write_text(script)
    got = on_it(machine, "$EXEC --net host -- sh asked.sh")
    assert got.stdout.split() == ["far", "far", "near", "vm-1", "7", "7"], got.stderr
    assert (got.returncode, got.stderr) == (0, "")


def test_root_can_run_an_online_sandbox(machine: Place) -> None:
    got = on_it(machine, "$EXEC --net host -- curl -sS http://far.example:7001/word", "exec")
    assert (got.returncode, got.stdout, got.stderr) == (0, "far\n", "")


def test_online_sandbox_opens_no_ports_outside(machine: Place) -> None:
    (machine.folder / "inside.sh").write_text("cat /proc/net/tcp > inside; cat outside")
    script = """
        mkfifo outside
        $EXEC --net host -- sh inside.sh > /dev/null &
        # The sandbox opens the pipe after everything is started.
        cat /proc/net/tcp > outside
        wait $!
        cat /proc/net/tcp
    """
    got = on_it(machine, script, "exec")
    assert got.returncode == 0, got.stderr
    assert ports((machine.folder / "inside").read_text()) >= {80, 8170, 8171}
    assert ports(got.stdout) == {7002}


def ports(table: str) -> set[int]:
    """Return the listening ports of a TCP table of /proc."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A"}


def test_pasta_ends_with_a_killed_supervisor(machine: Place) -> None:
    script = """
        $EXEC --net host -- sh -c "sleep 300 & echo > up; wait" &
        until [ -e up ]; do kill -0 $! || exit 1; sleep 0.02; done
        # One that ends meanwhile cannot be read.
        cat /proc/[0-9]*/comm > before 2> /dev/null || :
        kill -9 $!
        while cat /proc/[0-9]*/comm 2> /dev/null | grep -e ^pas -e ^sleep; do :; done
    """
    got = on_it(machine, script, "exec")
    assert got.returncode == 0, got.stderr
    # pasta calls itself passt.avx2, where it can be that.
    before = {name[:5] for name in (machine.folder / "before").read_text().split()}
    assert before & {"passt", "pasta"}


def test_machine_without_a_network_is_refused(place: Place) -> None:
    if not shutil.which("pasta"):
        pytest.skip("pasta is not installed: apt-get install passt")
    got = place.run("--net", "host", "--", "echo", "it ran", instead=ALONE)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr.startswith("openimds: pasta has ended, and with it egress: ")
    assert place.processes() == set()


def fake_pasta(place: Place, script: str) -> str:
    """Replace pasta with a script; return the PATH."""
    path = place.folder / "pasta"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{place.folder}:/usr/bin:/bin"


def test_last_output_of_pasta_is_the_reason(place: Place) -> None:
    script = "echo Failed to send 30 bytes to syslog; echo No tap; echo Failed to send 1 to syslog"
    path = fake_pasta(place, f"{{ {script}; }} >&2; exit 1")
    got = place.run("--net", "host", "--", "echo", "it ran", PATH=path)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr == "openimds: pasta has ended, and with it egress: No tap\n"
    assert place.processes() == set()


def test_signal_before_egress_ends_the_start(place: Place) -> None:
    path = fake_pasta(place, "echo > there; exec sleep 300")
    running = place.start("--net", "host", "--", "echo", "it ran", PATH=path)
    until((place.folder / "there").exists)
    running.send_signal(signal.SIGWINCH)  # Ignored by default.
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=60) == ("", "")
    assert running.returncode == -signal.SIGTERM
    assert place.processes() == set()


def test_sandbox_that_ends_before_its_command_is_reported(place: Place) -> None:
    path = fake_pasta(place, "echo > there; exec sleep 300")
    running = place.start("--net", "host", "--", "echo", "it ran", PATH=path)
    until((place.folder / "there").exists)
    others = place.processes() - {running.pid}
    (init,) = (pid for pid in others if os.getsid(pid) != pid)
    os.kill(init, signal.SIGKILL)
    message = "openimds: vm-1: the sandbox ended before COMMAND was started\n"
    assert running.communicate(timeout=60) == ("", message)
    assert running.returncode == 1
    assert place.processes() == set()


def test_missing_pasta_is_refused_with_its_package(place: Place) -> None:
    got = place.run(
        "--net", "host", "--", "echo", "it ran", PATH=str(place.folder), instead=["/usr/bin/env"]
    )
    assert (got.returncode, got.stdout) == (2, "")
    assert got.stderr == (
        'openimds: --net: saw "host" without pasta, expected pasta on the PATH. '
        "Type apt-get install passt or dnf install passt; or write --net none\n"
    )
