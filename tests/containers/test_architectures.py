"""The image for the other architecture: its archives, and the index of both.

An emulator of user programs runs its Python and the service inside one process. What starts other
programs, so the image's own entry point with its two processes, runs on no emulator that the kernel
does not know, and was not executed.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest

from openimds import __version__
from tests.clients.kits import ROOT
from tests.containers.engine import OTHER, OWN, archive, inspect, podman

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
ELF_MACHINES = {"amd64": 62, "arm64": 183}
"""EM_X86_64 and EM_AARCH64 of elf.h."""
LOADERS = {
    "amd64": {"usr/lib64/ld-linux-x86-64.so.2", "usr/lib/MACHINE-linux-gnu/ld-linux-x86-64.so.2"},
    "arm64": {"usr/lib/ld-linux-aarch64.so.1", "usr/lib/MACHINE-linux-gnu/ld-linux-aarch64.so.1"},
}
ONE_SIDED = {
    "etc/ld.so.cache",  # The loader finds all libraries in its default folders.
    "usr/lib/MACHINE-linux-gnu/libmvec.so.1",  # glibc 2.36 has it for x86-64 alone.
    # Tables of the build of Python, which are compiled for one architecture.
    "usr/lib/python3.11/__pycache__/_sysconfigdata__MACHINE-linux-gnu.cpython-311.pyc",
    "usr/lib/python3.11/__pycache__/_sysconfigdata__linux_MACHINE-linux-gnu.cpython-311.pyc",
}
SERVE = """
import platform, urllib.request
from openimds.testing import serve
def get(url):
    asked = urllib.request.Request(url, headers={"Metadata": "true"})
    return urllib.request.urlopen(asked, timeout=60).read().decode()
with serve() as imds:
    print(platform.machine())
    print(get(f"{imds.url}/metadata/instance/compute/name?api-version=2021-02-01&format=text"))
    print("signature" in get(f"{imds.url}/metadata/attested/document?api-version=2021-02-01"))
"""
ENTER = """
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
ip link set lo up
exec chroot "$@"
"""


def members(architecture: str) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield the files of an image's only layer, with their contents."""
    with tarfile.open(archive("docker.tar", architecture)) as outer:
        (manifest,) = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]
        (layer,) = manifest["Layers"]
        with tarfile.open(fileobj=outer.extractfile(layer)) as files:
            for member in files:
                content = files.extractfile(member) if member.isreg() else None
                yield member, content.read() if content else b""


Images = dict[str, dict[str, tuple[tarfile.TarInfo, bytes]]]
"""The files of images by architecture and path."""


@pytest.fixture(scope="module")
def images() -> Images:
    """The files of both images by their paths."""
    return {
        wanted: {member.name.rstrip("/"): (member, body) for member, body in members(wanted)}
        for wanted in (OWN, OTHER)
    }


def named_alike(name: str, architecture: str) -> str:
    return name.replace(MACHINES[architecture], "MACHINE")


def test_every_program_and_library_is_for_its_machine(
    images: Images,
) -> None:
    for wanted, files in images.items():
        # e_machine is the half word at 18, in the order of little-endian files.
        found = {
            name: struct.unpack_from("<H", body, 18)[0]
            for name, (_, body) in files.items()
            if body.startswith(b"\x7fELF")
        }
        assert len(found) > 50
        assert set(found.values()) == {ELF_MACHINES[wanted]}, found


def test_wheels_are_for_its_machine(
    images: Images,
) -> None:
    for wanted, files in images.items():
        tags = {
            line.removeprefix("Tag: ").rpartition("-")[2]
            for name, (_, body) in files.items()
            if name.endswith(".dist-info/WHEEL")
            for line in body.decode().splitlines()
            if line.startswith("Tag: ")
        }
        compiled = tags - {"any"}
        assert compiled
        assert {tag for tag in compiled if not tag.endswith(MACHINES[wanted])} == set()


def test_files_modes_and_owners_are_those_of_the_other_image(
    images: Images,
) -> None:
    shown = {
        wanted: {
            named_alike(name, wanted): (member.mode, member.uid, member.gid, member.type)
            for name, (member, _) in files.items()
        }
        for wanted, files in images.items()
    }
    loaders = {named_alike(name, wanted) for wanted in LOADERS for name in LOADERS[wanted]}
    assert set(shown[OWN].keys() ^ shown[OTHER].keys()) <= ONE_SIDED | loaders
    both = shown[OWN].keys() & shown[OTHER].keys()
    assert {name for name in both if shown[OWN][name] != shown[OTHER][name]} == set()


@pytest.mark.parametrize(
    "name",
    [
        "etc/passwd",
        "etc/group",
        "etc/nsswitch.conf",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/lib/python3.11/__pycache__/os.cpython-311.pyc",
        "usr/local/lib/python3.11/dist-packages/openimds/__pycache__/__init__.cpython-311.pyc",
    ],
)
def test_result_of_scripts_of_packages_is_inside(name: str, images: Images) -> None:
    assert images[OTHER][name][1] == images[OWN][name][1] != b""


def test_list_of_packages_is_that_of_its_architecture(
    images: Images,
) -> None:
    installed = {}
    for wanted, files in images.items():
        text = files["var/lib/dpkg/status"][1].decode()
        rows = [HeaderParser().parsestr(part) for part in text.strip().split("\n\n")]
        assert {row["Architecture"] for row in rows} <= {wanted, "all"}
        assert {row["Status"] for row in rows} == {"install ok installed"}
        installed[wanted] = {row["Package"] for row in rows}
    assert installed[OTHER] == installed[OWN]
    parts = json.loads(archive("sbom.cdx.json", OTHER).read_bytes())["components"]
    debian = {part["name"] for part in parts if part["purl"].startswith("pkg:deb/")}
    assert debian == installed[OTHER]
    assert [part for part in parts if f"arch={OWN}" in part["purl"]] == []


def test_index_holds_both_images() -> None:
    path = ROOT / "dist" / f"openimds-{__version__}-linux.oci.tar"
    with tarfile.open(path) as opened:

        def read(digest: str) -> dict[str, Any]:
            file = opened.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert file
            return dict(json.load(file))

        (entry,) = json.load(opened.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
        rows = read(entry["digest"])["manifests"]
        configs = [read(read(row["digest"])["config"]["digest"]) for row in rows]
    assert [row["platform"] for row in rows] == [
        {"architecture": name, "os": "linux"} for name in ("amd64", "arm64")
    ]
    assert [config["architecture"] for config in configs] == ["amd64", "arm64"]
    own, other = configs if OWN == "amd64" else configs[::-1]
    assert other["config"] == own["config"]


def test_engine_takes_its_own_image_from_the_index() -> None:
    path = ROOT / "dist" / f"openimds-{__version__}-linux.oci.tar"
    found = {}
    for wanted in (OWN, OTHER):
        name = podman("pull", "--quiet", f"--arch={wanted}", f"oci-archive:{path}").split()[-1]
        found[inspect(name)["Architecture"]] = wanted
        if wanted == OWN:
            assert podman("run", "--rm", name, "--version") == f"openimds, version {__version__}"
        podman("rmi", "--force", name)
    assert found == {OWN: OWN, OTHER: OTHER}


def test_service_answers_under_an_emulator(tmp_path: Path) -> None:
    emulator = shutil.which(f"qemu-{MACHINES[OTHER]}")
    if not emulator:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("qemu-user is not installed")
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(archive("docker.tar", OTHER)) as outer:
        (manifest,) = json.load(outer.extractfile("manifest.json"))  # type: ignore[arg-type]
        outer.extract(manifest["Layers"][0], tmp_path, filter="data")
    with tarfile.open(tmp_path / manifest["Layers"][0]) as files:
        files.extractall(root, filter="tar")
    libraries = subprocess.run(["ldd", emulator], capture_output=True, text=True, check=True).stdout
    for path in (emulator, *re.findall(r"(/\S+) \(", libraries)):
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    namespaces = ("--mount", "--net", "--pid", "--fork", "--kill-child")
    words = ("unshare", *namespaces, "sh", "-euc", ENTER, "sh", str(root))
    ran = subprocess.run(
        [*words, emulator, "/usr/bin/python3", "-I", "-c", SERVE],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert ran.stdout.splitlines() == [MACHINES[OTHER], "vm-1", "True"], ran.stderr
