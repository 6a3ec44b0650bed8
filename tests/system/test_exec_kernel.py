"""openimds exec on kernels with restrictions."""

import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import until
from tests.system.sandboxes import CURL, NAME, Place, place

__all__ = ["place"]
pytestmark = [pytest.mark.system, pytest.mark.netns]

NO_USERS = """
echo 0 > /proc/sys/user/max_user_namespaces
exec setpriv --bounding-set=-all "$@"
"""
MASKED_PROC = """
mount --bind /dev/null /proc/version
exec unshare -U --map-user=1000 --map-group=1000 "$@"
"""
"""As in a container: without root, no new /proc can be mounted."""
BACKGROUND = """
sleep 300 &
setsid sleep 300 &
(sleep 300 &)
trap 'sleep 300 &' EXIT
"""


def try_outside(script: str, *flags: str) -> tuple[str, ...]:
    """Return a command prefix that runs a script as root of new namespaces first."""
    before = ("unshare", "-Ur", *flags, "sh", "-ec", script, "sh")
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine cannot do it: {tried.stderr.strip()}")
    return before


@pytest.fixture
def masked(place: Place) -> tuple[str, ...]:
    """A command prefix for an ordinary user with the /proc of a container."""
    return try_outside(MASKED_PROC, "-m")


def test_kernel_without_user_namespaces_is_refused(place: Place) -> None:
    before = try_outside(NO_USERS)
    got = place.run("--", "echo", "it ran", instead=before)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr == (
        "openimds: network namespaces are unavailable: user.max_user_namespaces is 0; type `sudo "
        "sysctl user.max_user_namespaces=10000`, or type `openimds serve`, and point clients at it "
        "with `openimds env`\n"
    )
    assert place.processes() == set()


def test_sandbox_without_its_own_proc_works(place: Place, masked: tuple[str, ...]) -> None:
    script = f"echo $PPID $OPENIMDS_TOKEN_FILE; {place.inside} vm list | grep -c vm-1; exit 4"
    got = place.run("--", "sh", "-c", script, instead=masked)
    assert (got.returncode, got.stderr) == (4, "")
    parent, file, listed = got.stdout.split()
    # The init process, with its pid outside.
    assert file.startswith(f"/proc/{parent}/fd/")
    assert (parent != "1", listed) == (True, "1")
    got = place.run("--", *CURL, NAME, instead=masked)
    assert (got.returncode, got.stdout, got.stderr) == (0, "vm-1", "")


def test_sandbox_without_its_own_pids_ends_all_processes(
    place: Place, masked: tuple[str, ...]
) -> None:
    got = place.run("--", "sh", "-c", f"{BACKGROUND} exit 3", instead=masked)
    assert got.returncode == 3
    assert place.processes() == set()


def test_killed_supervisor_ends_a_sandbox_without_own_pids(
    place: Place, masked: tuple[str, ...]
) -> None:
    script = f"{BACKGROUND} echo up; read go"
    running = place.start("--", "sh", "-c", script, instead=masked)
    assert running.stdout
    assert running.stdout.readline() == "up\n"
    running.kill()
    until(lambda: not place.processes())


def test_unfitting_proc_is_refused(place: Place) -> None:
    # New process ids with the masked /proc of others.
    others = try_outside(MASKED_PROC, "-m", "-p", "-f", "--kill-child")
    got = place.run("--", "echo", "it ran", instead=others)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr == (
        "openimds: network namespaces are unavailable: /proc shows the processes of another "
        "namespace; mount a /proc of this one\n"
    )
    assert place.processes() == set()


def test_azures_hosts_are_mapped_without_own_pids(place: Place, masked: tuple[str, ...]) -> None:
    fetch = 'curl -sS --cacert "$SSL_CERT_FILE" https://www.microsoft.com/pki/bundle.pem'
    script = f"cat /etc/hosts; {fetch} | grep -c 'BEGIN CERTIFICATE'"
    hosts = Path("/etc/hosts").read_bytes()
    got = place.run("--pki-names", "azure", "--", "sh", "-c", script, instead=masked)
    assert (got.returncode, got.stderr) == (0, "")
    lines = got.stdout.splitlines()
    assert lines[0] == "192.0.2.1 www.microsoft.com"
    assert lines[-1] == "3", "root, tier and intermediate come by https"
    assert Path("/etc/hosts").read_bytes() == hosts
