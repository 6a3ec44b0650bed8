"""The packages for the architecture that this machine has not, by what is in them."""

import io
import os
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from scripts import build_deb, build_rpm
from scripts.bundled_packages import PLATFORMS
from tests.package.test_deb import architecture

pytestmark = pytest.mark.timeout(600)

ELF_MACHINES = {"amd64": 62, "arm64": 183}
"""EM_X86_64 and EM_AARCH64 of elf.h."""
OLDEST = {"amd64": "GLIBC_2.2.5", "arm64": "GLIBC_2.17"}
"""The oldest symbols that the C library has on each."""


@pytest.fixture(scope="module")
def other(index: None) -> str:
    """Return an architecture that this machine has not."""
    for program in ("dpkg-deb", "rpmbuild"):
        if not shutil.which(program):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return "arm64" if architecture() == "amd64" else "amd64"


def machine(body: bytes) -> int:
    """Return e_machine of an ELF file, the half word at 18."""
    return int(struct.unpack_from("<H", body, 18)[0])


def test_debian_package_holds_libraries_of_its_machine(other: str, tmp_path: Path) -> None:
    path = build_deb.build(tmp_path / "work", other, tmp_path)
    words = ["dpkg-deb", "--field", str(path), "Architecture"]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert printed == f"{other}\n"
    words = ["dpkg-deb", "--fsys-tarfile", str(path)]
    found = {}
    with tarfile.open(
        fileobj=io.BytesIO(subprocess.run(words, capture_output=True, check=True).stdout)
    ) as files:
        for member in files:
            if member.isreg() and (file := files.extractfile(member)):
                body = file.read()
                if body.startswith(b"\x7fELF"):
                    found[member.name] = machine(body)
    assert len(found) >= 8
    assert set(found.values()) == {ELF_MACHINES[other]}, found
    assert all(
        f"-{PLATFORMS[other]}-" in name or "abi3" in name for name in found if "cpython" in name
    )


def test_rpm_package_holds_libraries_of_its_machine(other: str, tmp_path: Path) -> None:
    path = build_rpm.build(tmp_path / "work", other, tmp_path)
    query = ["rpm", "--query", "--package", "--queryformat", "%{ARCH}\\n[%{REQUIRENAME}\\n]"]
    printed = subprocess.run([*query, str(path)], capture_output=True, text=True, check=True)
    wanted, *required = printed.stdout.splitlines()
    assert wanted == PLATFORMS[other]
    oldest = [name for name, symbol in OLDEST.items() if f"libc.so.6({symbol})(64bit)" in required]
    assert other in oldest
    assert (OLDEST["amd64"] in "".join(required)) == (other == "amd64")
    bodies = [item.read_bytes() for item in (tmp_path / "work/root").rglob("*.so")]
    assert {machine(body) for body in bodies} == {ELF_MACHINES[other]}
