"""The single file: it runs from a private folder, and says what it wants elsewhere."""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from scripts.build_pyz import tag
from tests.package.resolutions import ROOT
from tests.package.user import User

AS_ROOT = os.geteuid() == 0
OTHER_USER = 65534


def build(wheel: Path, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "scripts/build_pyz.py", str(wheel), str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=110,
    )
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def pyz(index: None, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(wheel, tmp_path_factory.mktemp("pyz"))


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Return a user with an empty home, whose python3 is this one."""
    binaries = tmp_path / "env" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python3").symlink_to(Path(sys.executable).resolve())
    return User(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def for_another(pyz: Path, folder: Path, **facts: Any) -> Path:
    """Return a copy of the file that is for another platform."""
    copy = folder / pyz.name
    with zipfile.ZipFile(pyz) as old, zipfile.ZipFile(copy, "w") as new:
        for entry in old.infolist():
            body = old.read(entry)
            if entry.filename == "platform.json":
                body = json.dumps({**json.loads(body), **facts}).encode()
            new.writestr(entry, body)
    return copy


def test_name_has_version_python_and_platform(pyz: Path) -> None:
    assert pyz.name == f"openimds-0.2.0-{tag()}.pyz"
    assert os.access(pyz, os.X_OK)


def test_file_serves_from_a_private_folder_of_the_cache(pyz: Path, user: User) -> None:
    shared = user.home / "shared"
    shared.mkdir()
    before = os.umask(0)
    try:
        with user.serving(str(pyz), "serve") as ready:
            versions = user.prints(
                *("curl", "-s", "-H", "Metadata:true", f"{ready['imds']}/metadata/versions")
            )
        printed = user.prints(str(pyz), "--version", TMPDIR=str(shared))
    finally:
        os.umask(before)
    assert versions.startswith('{"apiVersions":["')
    assert printed == "openimds, version 0.2.0\n"
    cache = user.home / ".cache"
    assert mode(cache / "openimds") == 0o700
    assert [path.name for path in cache.iterdir()] == ["openimds"]
    assert not (user.home / ".shiv").exists()
    assert [*shared.iterdir()] == []


def test_named_cache_folder_is_used(pyz: Path, user: User) -> None:
    user.prints(str(pyz), "--version", XDG_CACHE_HOME=str(user.home / "elsewhere"))
    assert mode(user.home / "elsewhere" / "openimds") == 0o700
    assert not (user.home / ".cache").exists()


def test_command_in_exec_sees_no_trace_of_the_file(pyz: Path, user: User) -> None:
    inside = (
        'import os, sys; print([name for name in os.environ if "SHIV" in name or "PYTHON" in name])'
    )
    ran = user.run(str(pyz), "exec", "--", "python3", "-c", inside, PYTHONDONTWRITEBYTECODE="")
    if "network namespaces are unavailable" in ran.stderr:
        pytest.skip(ran.stderr.strip())
    assert ran.stdout == "['PYTHONDONTWRITEBYTECODE']\n", ran.stderr


@pytest.mark.parametrize(
    "facts, wanted",
    [
        ({"python": "CPython 3.99"}, "CPython 3.99 on "),
        ({"platform": "macosx-14.0-arm64"}, "on macosx-14.0-arm64"),
        ({"glibc": [9, 99]}, "with glibc 9.99"),
    ],
)
def test_other_platform_gets_a_sentence(
    pyz: Path, user: User, facts: dict[str, Any], wanted: str
) -> None:
    ran = user.run("python3", str(for_another(pyz, user.home, **facts)), "serve")
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"openimds: {pyz.name} is for ")
    assert wanted in line
    assert line.endswith("Type make pyz in a checkout on this machine")
    assert not (user.home / ".cache").exists()


def test_other_pythons_of_this_machine_get_a_sentence(pyz: Path, user: User) -> None:
    others = [
        path
        for minor in range(6, 20)
        if minor != sys.version_info[1] and (path := shutil.which(f"python3.{minor}"))
        if subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0
    ]
    if not others:
        pytest.skip("this machine has one Python")
    for path in others:
        ran = user.run(path, str(pyz), "serve")
        assert ran.returncode == 2
        assert "is for CPython 3." in ran.stderr
        assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["open", "link", "file", "foreign"])
def test_folder_that_others_could_change_is_refused(pyz: Path, user: User, kind: str) -> None:
    folder = user.home / ".cache" / "openimds"
    folder.parent.mkdir()
    if kind == "link":
        (user.home / "target").mkdir(mode=0o700)
        folder.symlink_to(user.home / "target")
    elif kind == "file":
        folder.touch()
    else:
        folder.mkdir(mode=0o700)
    if kind == "open":
        folder.chmod(0o755)
    if kind == "foreign":
        if not AS_ROOT:
            pytest.skip("only root can give a folder away")
        os.chown(folder, OTHER_USER, OTHER_USER)
    ran = user.run(str(pyz), "--version")
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    remedy = "Type chmod 700" if kind == "open" else "Set XDG_CACHE_HOME to a folder of your own"
    assert remedy in line


def test_home_that_is_missing_or_read_only_is_refused(pyz: Path, user: User) -> None:
    ran = user.run(str(pyz), "--version", HOME="/proc/none")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "cannot unpack in /proc/none/.cache/openimds (" in ran.stderr
    assert "Set XDG_CACHE_HOME to a folder of your own" in ran.stderr


def test_equal_input_gives_equal_bytes(pyz: Path, wheel: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        again = build(wheel, tmp_path / "again")
    finally:
        os.umask(before)
    assert again.read_bytes() == pyz.read_bytes()
