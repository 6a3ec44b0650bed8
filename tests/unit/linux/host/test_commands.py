import os
import subprocess
import sys
from pathlib import Path

import pytest

from openimds.linux.host import commands
from openimds.linux.host.commands import ToolError, host_lock, may_configure, run


def test_run_returns_the_stdout_of_a_program() -> None:
    program = "import sys; print(sys.stdin.read() + sys.argv[1])"
    assert run((sys.executable, "-c", program, "b"), "a") == "ab\n"


def test_failed_program_is_quoted() -> None:
    program = "import sys; sys.exit(sys.argv[1])"
    with pytest.raises(ToolError) as caught:
        run((sys.executable, "-c", program, "it is full"))
    assert str(caught.value) == f"{sys.executable} -c {program} it is full: it is full"
    with pytest.raises(ToolError, match=r": exit code 3$"):
        run((sys.executable, "-c", "raise SystemExit(3)"))


@pytest.mark.parametrize("name, package", [("nft", "nftables"), ("ip", "iproute2"), ("xyz", "xyz")])
def test_missing_program_has_a_package(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError) as caught:
        run((name, "list"))
    assert str(caught.value) == f"{name} is not installed; type apt-get install {package}"


def test_program_beyond_the_time_limit_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_MAX_S", 0)
    with pytest.raises(ToolError, match=r"is still running after 0 s$"):
        run((sys.executable, "-c", "input()"))


@pytest.mark.parametrize(
    "line, may", [("CapEff:\t0000000000001000", True), ("CapEff:\t0000000000000fff", False)]
)
def test_right_to_configure_is_read_from_the_capabilities(
    tmp_path: Path, line: str, may: bool
) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\n{line}\n")
    assert may_configure(status) is may


def test_host_lock_excludes_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import fcntl, os, sys; "
        "fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    with host_lock(path):
        other = subprocess.run(
            [sys.executable, "-c", program, str(path)], check=False, capture_output=True
        )
        assert b"BlockingIOError" in other.stderr
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 0


def test_unwritable_lock_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught, host_lock(tmp_path / "none" / "lock"):
        raise AssertionError(os.getpid())
    assert str(caught.value) == f"{tmp_path}/none/lock: no such file or directory"
