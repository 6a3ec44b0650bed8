"""The package as its users get it: a wheel, and environments that have nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.index import why_unreachable
from tests.package.resolutions import ROOT, build
from tests.package.user import User


@pytest.fixture(scope="session")
def index() -> None:
    """Skip where no package index can be reached; in CI that is a failure."""
    if reason := why_unreachable():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this checkout."""
    (built,) = build(tmp_path_factory.mktemp("wheel"))
    return built


@pytest.fixture(scope="session")
def versions(index: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return constraints with the locked versions, so that a new release breaks no test here."""
    path = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    lock = (ROOT / "requirements-dev.lock").read_text()
    pins = re.findall(r"^([a-zA-Z0-9_.-]+)(?:\[\w+\])?(==[^ ;\\]+)", lock, re.MULTILINE)
    path.write_text("".join(f"{name}{pin}\n" for name, pin in pins))
    return path


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, versions: Path) -> User:
    """Return a user who typed `pip install ./openimds` beside a checkout, and nothing else."""
    return installed(tmp_path_factory.mktemp("plain"), versions, "./openimds")


@pytest.fixture(scope="session")
def tester(tmp_path_factory: pytest.TempPathFactory, versions: Path) -> User:
    """Return a user who asked for the extra `test`."""
    return installed(tmp_path_factory.mktemp("tester"), versions, "./openimds[test]")


def installed(folder: Path, versions: Path, what: str) -> User:
    """Install the package beside a link to this checkout, into a new environment."""
    (folder / "openimds").symlink_to(ROOT)
    subprocess.run([sys.executable, "-m", "venv", "env"], cwd=folder, check=True)
    subprocess.run(
        ["env/bin/python", "-m", "pip", "install", "--quiet", what],
        cwd=folder,
        check=True,
        env={**os.environ, "PIP_CONSTRAINT": str(versions)},
        timeout=300,
    )
    return User(folder)
