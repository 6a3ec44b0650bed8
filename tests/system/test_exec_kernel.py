"""openimds exec where the kernel gives less than it could."""

import subprocess

import pytest

from tests.system.cells import CURL, NAME, Place, place, until

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
"""What a container does; who is not root there gets no /proc of his own."""
BACKGROUND = """
sleep 300 &
setsid sleep 300 &
(sleep 300 &)
trap 'sleep 300 &' EXIT
"""


def try_outside(script: str, *flags: str) -> tuple[str, ...]:
    """Return what runs a command behind a script of root's, in namespaces of its own."""
    before = ("unshare", "-Ur", *flags, "sh", "-ec", script, "sh")
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"cannot be shown here: {tried.stderr.strip()}")
    return before


@pytest.fixture
def masked(place: Place) -> tuple[str, ...]:
    """An ordinary user whose /proc is like that of a container."""
    return try_outside(MASKED_PROC, "-m")


def test_a_kernel_that_forbids_it_is_said_to_and_what_helps(place: Place) -> None:
    before = try_outside(NO_USERS)
    got = place.run("--", "echo", "it ran", instead=before)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr == (
        "openimds: network namespaces are unavailable: user.max_user_namespaces is 0; type `sudo "
        "sysctl user.max_user_namespaces=10000`, or type `openimds serve`, and point clients at it "
        "with `openimds env`\n"
    )
    assert place.processes() == set()


def test_without_a_proc_of_its_own_a_cell_still_works(
    place: Place, masked: tuple[str, ...]
) -> None:
    asked = f"echo $PPID $OPENIMDS_TOKEN_FILE; {place.inside} vm list | grep -c vm-1; exit 4"
    got = place.run("--", "sh", "-c", asked, instead=masked)
    assert (got.returncode, got.stderr) == (4, "")
    parent, file, listed = got.stdout.split()
    # The first process, under the name that it has outside.
    assert file.startswith(f"/proc/{parent}/fd/")
    assert (parent != "1", listed) == (True, "1")
    got = place.run("--", *CURL, NAME, instead=masked)
    assert (got.returncode, got.stdout, got.stderr) == (0, "vm-1", "")


def test_without_processes_of_its_own_all_of_a_cell_end_with_it(
    place: Place, masked: tuple[str, ...]
) -> None:
    got = place.run("--", "sh", "-c", f"{BACKGROUND} exit 3", instead=masked)
    assert got.returncode == 3
    assert place.processes() == set()


def test_without_processes_of_its_own_all_of_a_cell_end_with_a_killed_warden(
    place: Place, masked: tuple[str, ...]
) -> None:
    script = f"{BACKGROUND} echo up; read go"
    running = place.start("--", "sh", "-c", script, instead=masked)
    assert running.stdout
    assert running.stdout.readline() == "up\n"
    running.kill()
    until(lambda: not place.processes())


def test_without_any_proc_that_fits_there_is_no_cell(place: Place) -> None:
    # Process ids of its own, and the masked /proc of others.
    others = try_outside(MASKED_PROC, "-m", "-p", "-f", "--kill-child")
    got = place.run("--", "echo", "it ran", instead=others)
    assert (got.returncode, got.stdout) == (1, "")
    assert got.stderr == (
        "openimds: network namespaces are unavailable: /proc shows the processes of another "
        "namespace; mount a /proc of this one\n"
    )
    assert place.processes() == set()
