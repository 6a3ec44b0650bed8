"""Starts that fail: status 2, one sentence, and the thing to type."""

import os
from pathlib import Path

import pytest

from tests.containers.engine import IMAGE, attempt, podman, running

VOLUME = "/var/lib/openimds"


def refused(*options: str, command: tuple[str, ...] = ()) -> str:
    """Return the only line of a container that refuses to start, past its notices."""
    # An engine may allow fewer open files than the default asks for, which is a notice of its own.
    few = "--env=OPENIMDS_MAX_CONNECTIONS=100"
    outcome = attempt("run", "--rm", few, *options, IMAGE, *command)
    assert (outcome.code, outcome.out) == (2, "")
    lines = [line for line in outcome.err.splitlines() if "forgets" not in line]
    (line,) = lines
    assert "Traceback" not in line
    return line


def test_volume_of_another_owner_names_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o755)
    os.chown(folder, 1234, 1234)
    line = refused(f"--volume={folder}:{VOLUME}")
    assert line == (
        f"openimds: state folder {VOLUME}/state: {VOLUME} belongs to user 1234 (mode 0755), and "
        "this container runs as user 10001. Run it with --user 1234, or type: chown -R 10001 on "
        "the folder of the volume"
    )
    with running(f"--volume={folder}:{VOLUME}", "--user=1234"):
        assert (folder / "state").stat().st_uid == 1234


def test_state_of_another_user_names_that_user() -> None:
    volume = podman("volume", "create")
    try:
        with running(f"--volume={volume}:{VOLUME}", "--user=4711:0"):
            pass
        line = refused(f"--volume={volume}:{VOLUME}")
    finally:
        podman("volume", "rm", "--force", volume)
    assert f"{VOLUME}/state belongs to user 4711 (mode 0700)" in line
    assert "Run it with --user 4711" in line


def test_read_only_root_without_a_volume_names_the_option() -> None:
    line = refused("--read-only", "--read-only-tmpfs=false")
    assert line == (
        f"openimds: state folder {VOLUME}/state: {VOLUME} is read-only. Run it with --volume "
        f"openimds:{VOLUME}, or with --tmpfs {VOLUME}:mode=1777 to forget everything at the end"
    )


def test_read_only_volume_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert f"{VOLUME} is read-only" in refused(f"--volume={tmp_path}:{VOLUME}:ro")


def test_taken_port_inside_names_the_remedy() -> None:
    with running() as container:
        line = refused(f"--network=container:{container.name}")
    assert line == (
        "openimds: listen: saw 0.0.0.0:8169 (address already in use), expected an address that is "
        "free here. Write another port; port 0 is any free one"
    )


def test_taken_port_of_the_machine_is_named_by_the_engine() -> None:
    with running("--publish=127.0.0.1:8169:8169"):
        outcome = attempt("run", "--rm", "--publish=127.0.0.1:8169:8169", IMAGE)
    assert outcome.code == 126
    assert "8169" in outcome.err
    assert "address already in use" in outcome.err


def test_port_80_without_the_capability_names_it() -> None:
    line = refused("--cap-drop=ALL", "--env=OPENIMDS_LISTEN=0.0.0.0:80")
    assert "those below need the capability NET_BIND_SERVICE" in line


def test_missing_fleet_file_is_named() -> None:
    assert "absent.yaml" in refused(command=("serve", "--fleet", "absent.yaml"))


@pytest.mark.parametrize("folder", ["/proc/x", "/nowhere/state"])
def test_state_folder_that_cannot_be_made_is_named(folder: str) -> None:
    assert f"state folder {folder}: " in refused(command=("serve", "--state", folder))
