import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from scripts.foreign_root import fill
from scripts.image_archives import join


def add(archive: tarfile.TarFile, name: str, body: bytes = b"", **facts: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.uid, entry.gid, entry.mode = len(body), os.getuid(), os.getgid(), 0o640
    for key, value in facts.items():
        setattr(entry, key, value)
    archive.addfile(entry, io.BytesIO(body))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of arm64 after the root of amd64 filled it."""
    native, root = tmp_path / "native.tar", tmp_path / "root"
    with tarfile.open(native, "w") as archive:
        for folder in ("./", "./etc/", "./proc/", "./var/", "./lib/", "./lib/__pycache__/"):
            add(archive, folder, type=tarfile.DIRTYPE, mode=0o755)
        add(archive, "./etc/passwd", b"root:x:0:0")
        add(archive, "./etc/kept", b"of amd64")
        add(archive, "./etc/ld.so.cache", b"of amd64")
        add(archive, "./var/run", type=tarfile.SYMTYPE, linkname="/run")
        add(archive, "./lib/ld-linux-x86-64.so.2", b"of amd64")
        for name, source in (("equal", b"1"), ("other", b"2")):
            add(archive, f"./lib/{name}.py", source)
            add(archive, f"./lib/__pycache__/{name}.cpython-311.pyc", b"compiled")
    for folder in ("etc", "proc", "var/run", "lib"):
        (root / folder).mkdir(parents=True)
    (root / "etc/kept").write_text("of arm64")
    (root / "lib/equal.py").write_text("1")
    (root / "lib/other.py").write_text("of arm64")
    fill(root, native, "x86_64")
    return root


def test_result_of_scripts_is_taken_over(root: Path) -> None:
    assert (root / "etc/passwd").read_text() == "root:x:0:0"
    assert (root / "etc/passwd").stat().st_mode & 0o777 == 0o640
    assert (root / "var/run").readlink() == Path("/run")


def test_files_of_one_architecture_stay_apart(root: Path) -> None:
    assert (root / "etc/kept").read_text() == "of arm64"
    assert not (root / "etc/ld.so.cache").exists()
    assert not (root / "lib/ld-linux-x86-64.so.2").exists()


def test_compiled_module_comes_with_an_equal_source_alone(root: Path) -> None:
    compiled = [path.name for path in (root / "lib/__pycache__").iterdir()]
    assert compiled == ["equal.cpython-311.pyc"]


def test_index_names_the_platform_of_each_image(tmp_path: Path) -> None:
    paths = {}
    for name in ("arm64", "amd64"):
        paths[name] = tmp_path / f"{name}.tar"
        row = {"mediaType": "m", "digest": f"sha256:{name}", "size": 3, "annotations": {}}
        with tarfile.open(paths[name], "w") as archive:
            add(archive, "blobs/sha256/shared", b"one")
            add(archive, f"blobs/sha256/{name}", b"abc")
            add(archive, "index.json", json.dumps({"manifests": [row]}).encode())
    join(paths, tmp_path / "both.tar", "1.0")
    with tarfile.open(tmp_path / "both.tar") as archive:
        (entry,) = json.load(archive.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
        digest = entry["digest"].removeprefix("sha256:")
        rows = json.load(archive.extractfile(f"blobs/sha256/{digest}"))["manifests"]  # type: ignore[arg-type]
        names = {name.removeprefix("blobs/sha256/") for name in archive.getnames()}
    assert [(row["platform"]["architecture"], row["digest"]) for row in rows] == [
        ("amd64", "sha256:amd64"),
        ("arm64", "sha256:arm64"),
    ]
    assert names == {"shared", "amd64", "arm64", digest, "index.json", "oci-layout"}
