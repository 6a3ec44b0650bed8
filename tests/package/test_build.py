"""The wheel and the source distribution: complete, and equal wherever they are built."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import readme_renderer.markdown

from tests.package.resolutions import ROOT, build

LATER = "1750000000"
"""An instant of 2025 in seconds, for SOURCE_DATE_EPOCH."""


def git(*arguments: str) -> str:
    """Return the output of git in this checkout, or skip where this is none."""
    program = shutil.which("git")
    if not program or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    ran = subprocess.run(
        [program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stdout


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return message_from_bytes(archive.read(name))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def build_in_a_clone(folder: Path, umask: str, zone: str, **environment: str) -> Path:
    """Build the wheel and the source distribution in a clone; return their folder."""
    git("--version")
    folder.mkdir(parents=True)
    program = f"""
umask {umask}
git clone --quiet '{ROOT}' '{folder}/clone'
cd '{folder}/clone'
{sys.executable} -m hatchling build --directory '{folder}/dist'
"""
    subprocess.run(
        ["sh", "-euc", program],
        env={**os.environ, "TZ": zone, **environment},
        check=True,
        capture_output=True,
        timeout=100,
    )
    return folder / "dist"


def test_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    listed = {name.removeprefix("src/") for name in git("ls-files", "src").split()}
    assert {name for name in names if name.startswith("openimds/")} == listed
    assert "openimds/py.typed" in names
    others = {Path(name).name for name in names if ".dist-info/" in name}
    assert others == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE", "NOTICE"}


def test_metadata_names_the_extras_and_nothing_of_development(wheel: Path) -> None:
    fields = metadata(wheel)
    assert fields["Requires-Python"] == ">=3.11"
    assert fields.get_all("Provides-Extra") == ["entra", "fast", "postgres", "test"]
    required = [text for text in fields.get_all("Requires-Dist") or [] if "extra ==" in text]
    assert sorted(text.partition(">=")[0] for text in required) == [
        "azure-identity",
        "psycopg[binary]",
        "pytest",
        "requests",
    ]
    assert [text for text in fields.get_all("Requires-Dist") or [] if "@" in text] == []


def test_description_renders_without_the_repository(wheel: Path) -> None:
    fields = metadata(wheel)
    text = str(fields.get_payload())
    assert fields["Description-Content-Type"] == "text/markdown"
    page = readme_renderer.markdown.render(text)
    assert page is not None
    assert "<table>" in page
    assert "<pre" in page
    # Links and pictures of a repository lead nowhere on the page of an index.
    assert "](" not in text.replace("](https://", "")


def test_source_distribution_is_complete(tmp_path: Path, wheel: Path) -> None:
    (path,) = build(tmp_path / "dist", "sdist")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
        names = {"/".join(item.name.split("/")[1:]) for item in archive if item.isfile()}
    assert names - {"PKG-INFO"} >= set(git("ls-files").split())
    (root,) = [item for item in tmp_path.glob("openimds-*") if item.is_dir()]
    (again,) = build(tmp_path / "again", root=root)
    assert again.read_bytes() == wheel.read_bytes()


def test_two_clones_give_equal_bytes(tmp_path: Path) -> None:
    one = build_in_a_clone(tmp_path / "one", "022", "UTC")
    other = build_in_a_clone(tmp_path / "a" / "longer path", "077", "Pacific/Auckland")
    assert len(digests(one)) == 2
    assert digests(one) == digests(other)


def test_files_have_the_date_that_is_asked_for(tmp_path: Path) -> None:
    for number in (1, 2):
        build_in_a_clone(tmp_path / str(number), "022", "UTC", SOURCE_DATE_EPOCH=LATER)
    one, other = (tmp_path / number / "dist" for number in ("1", "2"))
    assert digests(one) == digests(other)
    with zipfile.ZipFile(next(one.glob("*.whl"))) as archive:
        assert {item.date_time for item in archive.infolist()} == {(2025, 6, 15, 15, 6, 40)}
    with tarfile.open(next(one.glob("*.tar.gz"))) as sources:
        assert {item.mtime for item in sources} == {int(LATER)}
