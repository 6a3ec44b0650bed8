"""Python packages inside other packages: our wheel, and the locked wheels that it needs.

They are chosen for Debian 12 and an architecture, not for the Python of this script.
"""

import re
import shutil
import sys
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from scripts.build_steps import ROOT, run

PYTHON = "3.11"
"""The Python of Debian 12."""
PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}
"""The machine in the names of wheels, by Debian's name of the architecture."""
OURS = "openimds"
_GLIBC = (36, 34, 28, 17, 12, 5)
"""Minor versions of glibc, newest first, that wheels for Debian 12 may ask for."""
_TAG = re.compile(r"manylinux_2_(\d+)_")
_OLD_TAGS = {"manylinux1_": 5, "manylinux2010_": 12, "manylinux2014_": 17}


def stage_packages(site: Path, lock: Path, architecture: str, roots: Iterable[str] = ()) -> None:
    """Install our wheel, and the locked packages that it and roots need, in a folder."""
    shutil.rmtree(site, ignore_errors=True)
    wheels = site.with_name("wheel")
    shutil.rmtree(wheels, ignore_errors=True)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", wheels, ROOT)
    machine = PLATFORMS[architecture]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC]
    tags.append(f"manylinux2014_{machine}")
    install: tuple[str | Path, ...] = (
        *pip,
        "install",
        "--no-deps",
        "--no-compile",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={PYTHON}",
        *(f"--platform={tag}" for tag in tags),
        "--target",
        site,
    )
    run(*install, "--require-hashes", "--requirement", lock)
    shutil.rmtree(site / "bin", ignore_errors=True)
    run(*install, *wheels.glob("openimds-*.whl"))
    shutil.rmtree(site / "bin", ignore_errors=True)
    drop_unneeded(site, roots)


def drop_unneeded(site: Path, roots: Iterable[str] = ()) -> None:
    """Remove the packages that serve only to build the wheel, and notes about this machine."""
    folders = {normal(metadata(path)["Name"]): path for path in site.glob("*.dist-info")}
    needed, waiting = set[str](), [OURS, *roots]
    while waiting:
        name = waiting.pop()
        if name in folders and name not in needed:
            needed.add(name)
            waiting += _requirements(folders[name])
    for name in folders.keys() - needed:
        for row in (folders[name] / "RECORD").read_text().splitlines():
            path = site / row.partition(",")[0]
            if path.is_relative_to(site) and ".." not in path.parts:
                path.unlink(missing_ok=True)
        shutil.rmtree(folders[name])
    for folder in (folders[name] for name in needed):
        record = folder / "RECORD"
        rows = record.read_text().splitlines(keepends=True)
        # The place of our wheel on this machine, and scripts that `--target` put elsewhere.
        dropped = ("direct_url.json", "../", "bin/")
        record.write_text("".join(row for row in rows if not any(part in row for part in dropped)))
        (folder / "direct_url.json").unlink(missing_ok=True)
    for path in sorted(site.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def least_glibc(site: Path) -> int:
    """Return the minor version of glibc 2 that the wheels in a folder ask for."""
    return max((_needed(path.read_text()) for path in site.glob("*.dist-info/WHEEL")), default=0)


def _needed(text: str) -> int:
    tags = [line for line in text.splitlines() if line.startswith("Tag:")]
    minors = [int(minor) for tag in tags for minor in _TAG.findall(tag)]
    minors += [minor for old, minor in _OLD_TAGS.items() for tag in tags if old in tag]
    return min(minors, default=0)


def _requirements(folder: Path) -> list[str]:
    """Return the names that a distribution needs without extras; markers for others are ignored."""
    rows = metadata(folder).get_all("Requires-Dist") or []
    return [
        normal(re.split(r"[\s;<>=!~\[(]", row, maxsplit=1)[0]) for row in rows if "extra" not in row
    ]


def metadata(folder: Path) -> Any:  # noqa: ANN401 - a mapping of headers
    """Return the headers of a distribution's METADATA."""
    return HeaderParser().parsestr((folder / "METADATA").read_text("utf-8"))


def normal(name: str) -> str:
    """Return the name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
