"""Build openimds-VERSION-PYTHON-PLATFORM.pyz, a single file that runs on the platform of its build.

`python scripts/build_pyz.py WHEEL FOLDER` installs the wheel and requirements-pyz.lock into a
temporary folder, packs them with shiv, and replaces shiv's first step by packaging/pyz. Equal input
gives equal bytes. Decision 0018 gives the reasons.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
EPOCH = "1580601600"
"""2020-02-02, as hatchling dates the files of a wheel; SOURCE_DATE_EPOCH replaces it."""
_LOCAL = ("RECORD", "REQUESTED", "INSTALLER", "direct_url.json")
"""Files that name the place or the tool of an installation; an archive has no use for them."""
_TAG = re.compile(r"manylinux_(\d+)_(\d+)_")
_OLD_TAGS = {"manylinux1_": (2, 5), "manylinux2010_": (2, 12), "manylinux2014_": (2, 17)}


def main() -> None:
    """Build the file from a wheel, and print its path."""
    wheel, folder = map(Path, sys.argv[1:])
    with TemporaryDirectory() as name:
        site, draft = Path(name, "site"), Path(name, "draft.pyz")
        install(wheel, site)
        major, minor = sys.version_info[:2]
        wanted: dict[str, object] = {
            "python": f"{platform.python_implementation()} {major}.{minor}",
            "platform": sysconfig.get_platform(),
            "glibc": max(glibc_versions(site), default=()),
        }
        pack(site, draft)
        target = folder / f"openimds-{wheel.name.split('-')[1]}-{tag()}.pyz"
        replace_first_step(draft, target, wanted)
    print(target)


def tag() -> str:
    """Return the tag of this interpreter and platform, as wheels have it."""
    system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return f"cp{sys.version_info[0]}{sys.version_info[1]}-{system}"


def install(wheel: Path, site: Path) -> None:
    """Install the wheel and its locked dependencies into a folder."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    into = ["--no-compile", "--target", str(site)]
    lock = ["--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements-pyz.lock")]
    subprocess.run([*pip, *into, *lock], check=True)
    shutil.rmtree(site / "bin", ignore_errors=True)
    subprocess.run([*pip, *into, "--no-deps", str(wheel)], check=True)
    shutil.rmtree(site / "bin")
    for path in site.glob("*.dist-info/*"):
        if path.name in _LOCAL:
            path.unlink()
    for path in site.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def glibc_versions(site: Path) -> Iterator[tuple[int, int]]:
    """Yield the version of glibc that each wheel needs."""
    for path in site.glob("*.dist-info/WHEEL"):
        tags = [line for line in path.read_text().splitlines() if line.startswith("Tag:")]
        needed = [(int(major), int(minor)) for major, minor in _TAG.findall("\n".join(tags))]
        needed += [version for old, version in _OLD_TAGS.items() if any(old in t for t in tags)]
        if needed:
            yield min(needed)


def pack(site: Path, target: Path) -> None:
    """Pack a folder of packages into a zip file with shiv's start."""
    options = ["--site-packages", str(site), "--compressed"]
    command = ["--entry-point", "openimds.cli.main:main"]
    python = ["--reproducible", "--python", "/usr/bin/env python3"]
    subprocess.run(
        [sys.executable, "-m", "shiv", "--output-file", str(target), *options, *command, *python],
        check=True,
        env={"SOURCE_DATE_EPOCH": EPOCH, **os.environ},
    )


def replace_first_step(draft: Path, target: Path, wanted: dict[str, object]) -> None:
    """Copy an archive with another `__main__.py`, and the platform that it is for."""
    first = (ROOT / "packaging" / "pyz" / "__main__.py").read_bytes()
    facts = json.dumps(wanted, sort_keys=True).encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(draft) as old, target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
            entries = old.infolist()
            for entry in entries:
                body = first if entry.filename == "__main__.py" else old.read(entry)
                new.writestr(entry, body)
            new.writestr(zipfile.ZipInfo("platform.json", entries[0].date_time), facts)
    target.chmod(0o755)


if __name__ == "__main__":
    main()
