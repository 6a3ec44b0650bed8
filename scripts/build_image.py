"""Make the image of OpenIMDS without any registry: `make image` calls this script.

    build_image.py rootfs WORK  make WORK/rootfs.tar: packages by mmdebstrap, our wheel inside
    build_image.py image WORK   make the image from it with podman, and its archives in `dist/`
    build_image.py finish ROOT  (called by mmdebstrap) put the wheel into a root folder, strip it

Equal input gives equal bytes: times are those of the last commit, and Debian's packages are
listed in the SBOM, which is CycloneDX 1.5. Nothing of another root folder runs outside it.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterable
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # It may be run as a file.

from scripts.build_steps import architecture, epoch, output, run, version  # noqa: E402
from scripts.bundled_packages import (  # noqa: E402 - see above
    PYTHON,
    metadata,
    normal,
    stage_packages,
)

CONTEXT = ROOT / "packaging" / "container"
DIST = ROOT / "dist"
NAME = "localhost/openimds"
"""The host is part of the name, so that no engine looks for it in a public registry."""

SUITE = "bookworm"
_LOCK = "requirements-packages.lock"
_EXTRAS = ("psycopg",)
"""Packages of the extra `postgres`, for controls; psycopg calls Debian's libpq."""
PACKAGES = (
    "base-files,base-passwd,ca-certificates,coreutils,dash,diffutils,grep,libc-bin,libpq5,"
    "libpython3-stdlib,perl-base,python3-minimal,sed"
)
UNINSTALLED = (
    "ca-certificates",
    "debconf",
    "debianutils",
    "diffutils",
    "dpkg",
    "grep",
    "libdebconfclient0",
    "libmd0",
    "mawk",
    "openssl",
    "perl-base",
    "sed",
    "tar",
    "usr-is-merged",
)
"""Packages that only the installation of others needs."""
_PACKAGES_AT = f"usr/local/lib/python{PYTHON}/dist-packages"
_USER, _GROUP = 10001, 0
_STATE = "var/lib/openimds"
_LARGEST_BYTES = 150 * 10**6
_SBOM = "usr/share/openimds/sbom.cdx.json"
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"

_STRIPPED = (
    "etc/alternatives",
    "etc/apt",
    "etc/ca-certificates",
    "etc/ca-certificates.conf",
    "etc/cron.daily",
    "etc/dpkg",
    "etc/hostname",
    "etc/logrotate.d",
    "etc/resolv.conf",
    "etc/shells",
    "etc/ssl/certs",
    "usr/games",
    "usr/include",
    "usr/lib/apt",
    "usr/lib/dpkg",
    "usr/lib/mime",
    f"usr/lib/python{PYTHON}/ensurepip",
    f"usr/lib/python{PYTHON}/lib2to3",
    f"usr/lib/python{PYTHON}/pydoc_data",
    f"usr/lib/python{PYTHON}/test",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/debconf",
    "usr/share/debianutils",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/perl5",
    "usr/share/pixmaps",
    "usr/src",
    "var/backups",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg/info",
    "var/lib/dpkg/triggers",
    "var/lib/dpkg/updates",
    "var/lib/misc",
    "var/lib/shells.state",
    "var/log",
)

Component = dict[str, Any]


def main() -> None:
    """Run the step that the command line names."""
    steps = {"rootfs": make_rootfs, "image": make_image, "finish": finish}
    match sys.argv[1:]:
        case [step, folder] if step in steps:
            steps[step](Path(folder).absolute())
        case _:
            sys.exit(__doc__)


def make_rootfs(work: Path) -> None:
    """Write the root file system of the image, `rootfs.tar`."""
    work.mkdir(parents=True, exist_ok=True)
    stage_packages(work / "site", ROOT / _LOCK, architecture(), _EXTRAS)
    keep = ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    temporary = work / "tmp"
    temporary.mkdir(exist_ok=True)
    run(
        *_read_only_but(work),
        "mmdebstrap",
        "--quiet",
        "--variant=custom",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--skip=cleanup/apt,cleanup/mmdebstrap,output/dev",
        "--aptopt=Acquire::Retries 2",
        *keep,
        f"--include={PACKAGES}",
        f'--customize-hook="{sys.executable}" "{__file__}" finish "$1"',
        SUITE,
        work / "rootfs.tar",
        environment={"OPENIMDS_SITE": str(work / "site"), "TMPDIR": str(temporary)},
    )
    size = (work / "rootfs.tar").stat().st_size
    if size > _LARGEST_BYTES:
        sys.exit(f"rootfs.tar has {size} bytes, more than the image may have ({_LARGEST_BYTES})")


def _read_only_but(folder: Path) -> tuple[str | Path, ...]:
    """Return the prefix of a command that may write to a folder and /tmp alone.

    mmdebstrap runs scripts of packages as root: this machine is read-only for them.
    """
    writable = "".join(f'mount --bind "{path}" "{path}" && ' for path in ("/tmp", folder))  # noqa: S108 - dpkg-deb's own
    mounts = f'{writable} mount -o remount,bind,ro / && exec "$@"'
    return "unshare", "--mount", "--propagation=private", "sh", "-c", mounts, "sh"


def finish(root: Path) -> None:
    """Turn a root folder of Debian packages into that of the image."""
    if not (root / "etc/apt/apt.conf.d/00mmdebstrap").exists():
        sys.exit(f"{root} is no root folder that mmdebstrap is making")
    _install_package(root)
    run("chroot", root, "/usr/bin/python3", "-c", _COMPILE)
    certificates = (root / _CERTIFICATES).read_bytes()
    for name in UNINSTALLED:
        _uninstall(root, name)
    _strip(root)
    (root / _CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
    (root / _CERTIFICATES).write_bytes(certificates)
    link = root / "usr/lib/ssl/cert.pem"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(f"/{_CERTIFICATES}")
    for path in (root / "etc/passwd", root / "etc/passwd-"):
        if path.exists() and "openimds" not in path.read_text():
            line = f"openimds:x:{_USER}:{_GROUP}:OpenIMDS:/{_STATE}:/usr/sbin/nologin\n"
            path.write_text(path.read_text() + line)
    (root / "etc/openimds").mkdir(exist_ok=True)
    state = root / _STATE
    state.mkdir(parents=True)
    state.chmod(0o770)
    os.chown(state, _USER, _GROUP)
    sbom = root / _SBOM
    sbom.parent.mkdir(parents=True)
    sbom.write_text(json.dumps(make_sbom(root), indent=1) + "\n")
    shutil.copyfile(sbom, Path(os.environ["OPENIMDS_SITE"]).with_name("sbom.cdx.json"))


_COMPILE = f"""
import compileall, pathlib, py_compile
for folder in ("/usr/lib/python{PYTHON}", "/{_PACKAGES_AT}"):
    for old in pathlib.Path(folder).rglob("__pycache__/*"):
        old.unlink()
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(folder, quiet=1, force=True, invalidation_mode=mode):
        raise SystemExit("a module does not compile")
"""


def _install_package(root: Path) -> None:
    """Copy the staged packages, the command and the scripts of the image."""
    place = root / _PACKAGES_AT
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(os.environ["OPENIMDS_SITE"], place)
    scripts = root / "usr/local/lib/openimds"
    scripts.mkdir(parents=True)
    for name in ("start.py", "healthcheck.py"):
        shutil.copyfile(CONTEXT / name, scripts / name)
    command = root / "usr/local/bin/openimds"
    command.write_text("#!/usr/bin/python3 -I\nfrom openimds.cli.main import main\n\nmain()\n")
    command.chmod(0o755)
    for path in (place, scripts):
        for entry in (path, *path.rglob("*")):
            os.chown(entry, 0, 0)
            entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & 0o100 else 0o644)


def _strip(root: Path) -> None:
    for name in _STRIPPED:
        path = _inside(root, name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in root.glob("usr/lib/*/gconv"):
        shutil.rmtree(path)
    # Links of packages that are gone.
    for path in (*root.glob("usr/bin/*"), *root.glob("usr/sbin/*")):
        if path.is_symlink() and str(path.readlink()).startswith("/etc/alternatives/"):
            path.unlink()
    # Licences stay, as they have to.
    for path in (root / "usr/share/doc").rglob("*"):
        if path.is_file() and path.name != "copyright":
            path.unlink()
    for name in ("status-old", "available", "available-old", "diversions-old", "statoverride-old"):
        (root / "var/lib/dpkg" / name).unlink(missing_ok=True)
    for name in ("lock", "lock-frontend"):
        (root / "var/lib/dpkg" / name).unlink(missing_ok=True)


def _uninstall(root: Path, name: str) -> None:
    """Remove the files of a Debian package and its entry in the list of packages.

    dpkg would run the package's scripts, some of which work on the machine that builds.
    """
    lists = root / "var/lib/dpkg/info"
    (listed,) = (path for path in lists.glob("*.list") if path.stem.partition(":")[0] == name)
    names = set(listed.read_text().splitlines()) - {"/."}
    for line in sorted(names, reverse=True):
        path = _inside(root, line.lstrip("/"))
        if path.is_dir():
            # A link to a folder, such as /bin, is not this package's own.
            if not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()
        else:
            path.unlink(missing_ok=True)
    status = root / "var/lib/dpkg/status"
    paragraphs = status.read_text("utf-8").split("\n\n")
    kept = [text for text in paragraphs if not text.startswith(f"Package: {name}\n")]
    status.write_text("\n\n".join(kept), "utf-8")


def _inside(root: Path, name: str) -> Path:
    """Return a path below a root folder; no link of the folder leads it elsewhere."""
    path = root / name
    if not path.parent.resolve().is_relative_to(root.resolve()):
        sys.exit(f"make image: {path} leads out of {root}")
    return path


def _debian_packages(root: Path) -> list[dict[str, str]]:
    """Return the fields of each installed Debian package."""
    texts = (root / "var/lib/dpkg/status").read_text("utf-8").strip().split("\n\n")
    packages = [dict(HeaderParser().parsestr(text)) for text in texts]
    return [package for package in packages if package["Status"].endswith(" installed")]


def make_sbom(root: Path) -> dict[str, Any]:
    """Return the bill of materials of a root folder in CycloneDX 1.5."""
    components = sorted(
        (*_debian_components(root), *_python_components(root)), key=lambda row: row["bom-ref"]
    )
    identity = hashlib.sha256(json.dumps(components).encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "urn:uuid:"
        + "-".join(re.findall(r"(.{8})(.{4})(.{4})(.{4})(.{12})", identity)[0]),
        "version": 1,
        "metadata": {
            "timestamp": _created(),
            "component": {
                "type": "container",
                "bom-ref": "image",
                "name": "openimds",
                "version": version(),
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": components,
    }


def _debian_components(root: Path) -> Iterable[Component]:
    release = dict(
        line.split("=", 1)
        for line in (root / "etc/os-release").read_text().splitlines()
        if "=" in line
    )
    distribution = f"debian-{release['VERSION_ID'].strip(chr(34))}"
    for package in _debian_packages(root):
        name, version = package["Package"], package["Version"]
        where = f"arch={package['Architecture']}&distro={distribution}"
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?{where}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _python_components(root: Path) -> Iterable[Component]:
    for folder in (root / _PACKAGES_AT).glob("*.dist-info"):
        fields = metadata(folder)
        name, version = normal(fields["Name"]), fields["Version"]
        purl = f"pkg:pypi/{name}@{version}"
        row = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        if expression := fields["License-Expression"]:
            row["licenses"] = [{"expression": expression}]
        yield row


def make_image(work: Path) -> None:
    """Build the image from `rootfs.tar`, and write its archives and its SBOM to `dist/`."""
    DIST.mkdir(exist_ok=True)
    built, number = work / "built.tar", version()
    run(
        "podman",
        "build",
        "--quiet",
        "--format=docker",
        f"--timestamp={epoch()}",
        f"--build-arg=VERSION={number}",
        f"--build-arg=REVISION={_revision()}",
        f"--build-arg=CREATED={_created()}",
        f"--file={CONTEXT / 'Containerfile'}",
        f"--tag={NAME}:latest",
        work,
    )
    stem = DIST / f"openimds-{number}-linux-{architecture()}"
    docker, oci = (stem.with_name(f"{stem.name}.{kind}.tar") for kind in ("docker", "oci"))
    for path in (built, docker, oci):
        path.unlink(missing_ok=True)
    save = ("podman", "save", "--quiet")
    run(*save, "--format=docker-archive", f"--output={built}", f"{NAME}:latest")
    normalise(built, docker, [f"{NAME}:latest", f"{NAME}:{number}"])
    run("podman", "load", "--quiet", f"--input={docker}")
    built.unlink()
    run(*save, "--format=oci-archive", f"--output={built}", f"{NAME}:latest")
    repack(built, oci)
    built.unlink()
    shutil.copyfile(work / "sbom.cdx.json", stem.with_name(f"{stem.name}.sbom.cdx.json"))


def normalise(built: Path, target: Path, names: list[str]) -> None:
    """Write a docker-archive again without the random names that its build left in it."""
    with tarfile.open(built) as source, tarfile.open(target, "w") as archive:
        (manifest,) = json.load(_member(source, "manifest.json"))
        config = json.load(_member(source, manifest["Config"]))
        for key in ("container", "parent", "container_config"):
            config.pop(key, None)
        config["config"]["Hostname"] = ""
        for step in config["history"]:
            step.pop("comment", None)
        text = json.dumps(config, sort_keys=True).encode()
        entry = {
            "Config": f"{hashlib.sha256(text).hexdigest()}.json",
            "RepoTags": names,
            "Layers": manifest["Layers"],
        }
        for layer in manifest["Layers"]:
            _add(archive, layer, source.getmember(layer).size, _member(source, layer))
        _add(archive, entry["Config"], len(text), io.BytesIO(text))
        text = json.dumps([entry]).encode()
        _add(archive, "manifest.json", len(text), io.BytesIO(text))


def repack(built: Path, target: Path) -> None:
    """Write an archive again, in the order of its names and without times and owners."""
    with tarfile.open(built) as source, tarfile.open(target, "w") as archive:
        for name in sorted(member.name for member in source if member.isfile()):
            _add(archive, name, source.getmember(name).size, _member(source, name))


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    assert file, f"{name} is a file"
    return file


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, epoch()
    archive.addfile(entry, content)


def _revision() -> str:
    return output("git", "rev-parse", "HEAD") or "unknown"


def _created() -> str:
    return datetime.fromtimestamp(epoch(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    main()
