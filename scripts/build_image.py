"""Make the image of OpenIMDS without any registry: `make image` calls this script.

    build_image.py rootfs WORK  make WORK/rootfs.tar: packages by mmdebstrap, our wheel inside
    build_image.py image WORK   make the image from it with podman, and its archives in `dist/`
    build_image.py finish ROOT  (called by mmdebstrap) put the wheel into a root folder, strip it

With `--architecture arm64` the first two work in WORK/arm64. Packages are unpacked there and none
of their programs runs; what their scripts make is taken from WORK/rootfs.tar.

Equal input gives equal bytes: times are those of the last commit, and Debian's packages are
listed in the SBOM, which is CycloneDX 1.5. Nothing of another root folder runs outside it.
"""

import json
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # It may be run as a file.

from scripts.build_steps import architecture, epoch, output, run, version  # noqa: E402
from scripts.bundled_packages import PLATFORMS, PYTHON, stage_packages  # noqa: E402
from scripts.foreign_root import fill, record_packages  # noqa: E402
from scripts.image_archives import join, normalise, repack  # noqa: E402
from scripts.image_sbom import created, make_sbom  # noqa: E402

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


def main() -> None:
    """Run the step that the command line names."""
    steps = {"rootfs": make_rootfs, "image": make_image}
    match sys.argv[1:]:
        case ["finish", folder]:
            finish(Path(folder).absolute())
        case [step, folder] if step in steps:
            steps[step](Path(folder).absolute(), architecture())
        case [step, folder, "--architecture", wanted] if step in steps:
            if wanted not in PLATFORMS:
                sys.exit(f"make image: {wanted} is none of {', '.join(PLATFORMS)}")
            steps[step](Path(folder).absolute(), wanted)
        case _:
            sys.exit(__doc__)


def _place(work: Path, wanted: str) -> Path:
    return work if wanted == architecture() else work / wanted


def make_rootfs(folder: Path, wanted: str) -> None:
    """Write the root file system of the image for an architecture, `rootfs.tar`."""
    work = _place(folder, wanted)
    work.mkdir(parents=True, exist_ok=True)
    stage_packages(work / "site", ROOT / _LOCK, wanted, _EXTRAS)
    environment = {"OPENIMDS_SITE": str(work / "site"), "TMPDIR": str(work / "tmp")}
    kind: tuple[str, ...] = ("--variant=custom",)
    hook = "customize"
    if work != folder:
        # Of an unpacked root only this hook runs, and dpkg's options are of no use.
        kind, hook = ("--variant=extract", f"--architectures={wanted}"), "extract"
        environment["OPENIMDS_NATIVE"] = str(folder / "rootfs.tar")
    keep = ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    (work / "tmp").mkdir(exist_ok=True)
    run(
        *_read_only_but(work),
        "mmdebstrap",
        "--quiet",
        *kind,
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "--skip=cleanup/apt,cleanup/mmdebstrap,output/dev",
        "--aptopt=Acquire::Retries 2",
        *keep,
        f"--include={PACKAGES}",
        f'--{hook}-hook="{sys.executable}" "{__file__}" finish "$1"',
        SUITE,
        work / "rootfs.tar",
        environment=environment,
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
    if native := os.environ.get("OPENIMDS_NATIVE"):
        record_packages(root)
        certificates = b""
    else:
        run("chroot", root, "/usr/bin/python3", "-c", _COMPILE)
        certificates = (root / _CERTIFICATES).read_bytes()
    for name in UNINSTALLED:
        _uninstall(root, name)
    _strip(root)
    if native:
        fill(root, Path(native), PLATFORMS[architecture()])
    else:
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
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o770)
    os.chown(state, _USER, _GROUP)
    sbom = root / _SBOM
    sbom.parent.mkdir(parents=True, exist_ok=True)
    sbom.write_text(json.dumps(make_sbom(root, _PACKAGES_AT), indent=1) + "\n")
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
    command.parent.mkdir(exist_ok=True)
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


def make_image(folder: Path, wanted: str) -> None:
    """Build the image from `rootfs.tar`, and write its archives and its SBOM to `dist/`."""
    work = _place(folder, wanted)
    DIST.mkdir(exist_ok=True)
    built, number = work / "built.tar", version()
    run(
        "podman",
        "build",
        "--quiet",
        "--format=docker",
        f"--platform=linux/{wanted}",
        f"--timestamp={epoch()}",
        f"--build-arg=VERSION={number}",
        f"--build-arg=REVISION={_revision()}",
        f"--build-arg=CREATED={created()}",
        f"--file={CONTEXT / 'Containerfile'}",
        f"--tag={NAME}:latest",
        work,
    )
    stem = _stem(wanted)
    stem.parent.mkdir(exist_ok=True)
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
    if wanted != architecture():
        own = _stem(architecture()).with_name(f"{_stem(architecture()).name}.oci.tar")
        both = {architecture(): own, wanted: oci}
        join(both, DIST / f"openimds-{number}-linux.oci.tar", number)


def _stem(wanted: str) -> Path:
    place = DIST if wanted == architecture() else DIST / wanted
    return place / f"openimds-{version()}-linux-{wanted}"


def _revision() -> str:
    return output("git", "rev-parse", "HEAD") or "unknown"


if __name__ == "__main__":
    main()
