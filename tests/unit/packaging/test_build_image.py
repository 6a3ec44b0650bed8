import io
import json
import tarfile
from pathlib import Path

import pytest

from scripts import build_image, bundled_packages, image_archives, image_sbom

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u1

Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1:1.21

Package: old
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root folder with three Debian packages and a Python one."""
    for name in ("etc", "usr/bin", "var/lib/dpkg/info", build_image._PACKAGES_AT):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "etc/os-release").write_text('VERSION_ID="12"\nNAME=Debian\n')
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    metadata = tmp_path / build_image._PACKAGES_AT / "Foo_Bar-1.0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Name: Foo_Bar\nVersion: 1.0\nLicense-Expression: MIT\n")
    return tmp_path


def test_sbom_lists_installed_packages_by_purl(root: Path) -> None:
    sbom = image_sbom.make_sbom(root, build_image._PACKAGES_AT)
    assert [part["purl"] for part in sbom["components"]] == [
        "pkg:deb/debian/dpkg@1%3A1.21?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12",
        "pkg:pypi/foo-bar@1.0",
    ]
    assert sbom["components"][-1]["licenses"] == [{"expression": "MIT"}]


def test_equal_packages_give_an_equal_sbom(root: Path) -> None:
    first, second = (
        json.dumps(image_sbom.make_sbom(root, build_image._PACKAGES_AT)) for _ in range(2)
    )
    assert first == second


def test_uninstall_removes_files_and_the_entry(root: Path) -> None:
    (root / "usr/bin/dpkg").touch()
    (root / "usr/bin/kept").touch()
    listed = "/.\n/bin\n/usr\n/usr/bin\n/usr/bin/dpkg\n/usr/share/absent\n"
    (root / "var/lib/dpkg/info/dpkg.list").write_text(listed)
    build_image._uninstall(root, "dpkg")
    assert [path.name for path in (root / "usr/bin").iterdir()] == ["kept"]
    assert (root / "bin").is_symlink()
    assert "dpkg" not in (root / "var/lib/dpkg/status").read_text()
    assert "libc6" in (root / "var/lib/dpkg/status").read_text()


def test_uninstall_never_leaves_the_root_folder(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("machine") / "file"
    outside.touch()
    (root / "link").symlink_to(outside.parent)
    (root / "var/lib/dpkg/info/dpkg.list").write_text("/link/file\n")
    with pytest.raises(SystemExit, match="leads out of"):
        build_image._uninstall(root, "dpkg")
    assert outside.exists()


def test_finish_refuses_a_folder_that_is_in_use(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no root folder that mmdebstrap is making"):
        build_image.finish(tmp_path)


def test_packages_for_building_are_dropped(tmp_path: Path) -> None:
    requirements = {
        "openimds": ("click>=8; python_version > '3'", "azure-identity>=1; extra == 'entra'"),
        "click": (),
        "hatchling": ("click",),
        "azure-identity": (),
    }
    for name, needs in requirements.items():
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (tmp_path / f"{name}.py").touch()
        rows = "".join(f"Requires-Dist: {need}\n" for need in needs)
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1\n{rows}")
        (folder / "direct_url.json").touch()
        record = f"{name}.py,,\n../../bin/{name},,\n{folder.name}/direct_url.json,,\n"
        (folder / "RECORD").write_text(record)
    bundled_packages.drop_unneeded(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "click-1.dist-info",
        "click.py",
        "openimds-1.dist-info",
        "openimds.py",
    }
    assert (tmp_path / "openimds-1.dist-info/RECORD").read_text() == "openimds.py,,\n"
    assert not (tmp_path / "openimds-1.dist-info/direct_url.json").exists()


def an_archive(path: Path, container: str) -> Path:
    """Write a docker-archive as podman saves it, with random names."""
    config = {
        "container": container,
        "container_config": {"Hostname": container},
        "parent": container,
        "config": {"Hostname": container, "User": "10001:0", "Healthcheck": {"Test": ["CMD"]}},
        "history": [{"created_by": "ADD", "comment": f"FROM {container}"}],
    }
    manifest = [{"Config": f"{container}.json", "RepoTags": [], "Layers": ["layer.tar"]}]
    texts = {
        "layer.tar": b"layer",
        f"{container}.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "repositories": container.encode(),
    }
    with tarfile.open(path, "w") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return path


def test_equal_images_have_equal_archives(tmp_path: Path) -> None:
    for name in ("a", "b"):
        built = an_archive(tmp_path / f"{name}-built", name)
        image_archives.normalise(built, tmp_path / name, ["localhost/x:1"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with tarfile.open(tmp_path / "a") as archive:
        (manifest,) = json.load(image_archives._member(archive, "manifest.json"))
        config = json.load(image_archives._member(archive, manifest["Config"]))
        assert image_archives._member(archive, "layer.tar").read() == b"layer"
    assert manifest["RepoTags"] == ["localhost/x:1"]
    assert config["config"] == {
        "Hostname": "",
        "User": "10001:0",
        "Healthcheck": {"Test": ["CMD"]},
    }


def test_repacked_archive_has_no_times_and_a_fixed_order(tmp_path: Path) -> None:
    for name, times in (("a", (1, 2)), ("b", (4, 3))):
        with tarfile.open(tmp_path / f"{name}-built", "w") as archive:
            for path, time in sorted(zip(("x", "y"), times, strict=True), key=lambda row: row[1]):
                entry = tarfile.TarInfo(path)
                entry.mtime = time
                archive.addfile(entry)
        image_archives.repack(tmp_path / f"{name}-built", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_unknown_step_prints_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["build_image.py", "other", "x"])
    with pytest.raises(SystemExit, match="mmdebstrap"):
        build_image.main()


def test_unknown_architecture_is_refused_with_those_that_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ["build_image.py", "rootfs", "x", "--architecture", "mips"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit, match="mips is none of amd64, arm64"):
        build_image.main()
