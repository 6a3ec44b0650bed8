import os
from pathlib import Path

import pytest
import start

VOLUME = "/var/lib/openimds"
ROOT = "22 1 0:20 / / ro,relatime - overlay overlay rw,lowerdir=/a"
NAMED = f"30 22 8:1 /volumes/x/_data {VOLUME} rw - ext4 /dev/sda rw"
IN_MEMORY = f"31 22 0:31 / {VOLUME} rw,nosuid - tmpfs tmpfs rw"
KEPT_IN_MEMORY = f"31 22 0:31 /volumes/x/_data {VOLUME} rw - tmpfs tmpfs rw"
SPACED = r"32 22 8:1 /a /mnt/my\040state rw - ext4 /dev/sda rw"


def mounts(*lines: str) -> list[start.Mount]:
    return start.read_mounts("\n".join((ROOT, *lines)))


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], ["serve"]),
        (["--record", "5"], ["serve", "--record", "5"]),
        (["serve", "--record", "5"], ["serve", "--record", "5"]),
        (["vm", "list"], ["vm", "list"]),
        (["--version"], ["--version"]),
        (["--help"], ["--help"]),
    ],
)
def test_options_without_a_command_are_those_of_serve(
    arguments: list[str], expected: list[str]
) -> None:
    assert start.serve_arguments(arguments) == expected


@pytest.mark.parametrize(
    "arguments, folder",
    [
        (["serve"], "/from/environment"),
        (["serve", "--state", "/a"], "/a"),
        (["serve", "--state=/a", "--record", "1"], "/a"),
        (["serve", "--state"], ""),
    ],
)
def test_flag_wins_over_the_environment(
    arguments: list[str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENIMDS_STATE", "/from/environment")
    assert start.state_folder(arguments) == folder


@pytest.mark.parametrize("line", [NAMED, KEPT_IN_MEMORY])
def test_volume_forgets_nothing(line: str) -> None:
    assert start.forgets(f"{VOLUME}/state", mounts(line)) == ""


@pytest.mark.parametrize(
    "folder, lines, reason",
    [
        (f"{VOLUME}/state", (), f"no volume holds {VOLUME}/state: "),
        (f"{VOLUME}-2/state", (NAMED,), f"no volume holds {VOLUME}-2/state: "),
        (f"{VOLUME}/state", (IN_MEMORY,), f"{VOLUME}/state is in memory: "),
        (f"{VOLUME}/state", (NAMED, IN_MEMORY), f"{VOLUME}/state is in memory: "),
        ("", (NAMED,), "there is no state folder: "),
    ],
)
def test_state_without_a_volume_is_reported(
    folder: str, lines: tuple[str, ...], reason: str
) -> None:
    notice = start.forgets(folder, mounts(*lines))
    assert notice.startswith(reason)
    assert notice.endswith(f"run it with --volume openimds:{VOLUME}")


def test_mount_with_a_space_in_its_path_is_found() -> None:
    assert start.forgets("/mnt/my state/x", mounts(SPACED)) == ""


def test_own_folder_is_usable(tmp_path: Path) -> None:
    assert start.unusable(tmp_path / "deep" / "state") == ""


def test_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o750)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    owner = tmp_path.stat().st_uid
    assert start.unusable(tmp_path / "state") == (
        f"state folder {tmp_path}/state: {tmp_path} belongs to user {owner} (mode 0750), and this "
        f"container runs as user 4711. Run it with --user {owner}, or type: chown -R 4711 on the "
        "folder of the volume"
    )


def test_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly)
    assert f"{tmp_path} is read-only. Run it with --volume" in start.unusable(tmp_path / "state")


def test_check_ends_with_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "unusable", lambda _: "state folder: no")
    with pytest.raises(SystemExit) as ended:
        start.check(["serve", "--state", "/a"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "openimds: state folder: no\n"


def test_check_prints_one_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "mountinfo"
    listed.write_text(ROOT)
    monkeypatch.setattr(start, "MOUNTS", listed)
    start.check(["serve", "--state", str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"openimds: no volume holds {tmp_path}: ")
    assert line.endswith(".")
