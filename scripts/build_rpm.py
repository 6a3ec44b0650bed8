"""Make the RPM package of OpenIMDS in `dist/`: `make rpm` calls this script.

    build_rpm.py WORK [--architecture amd64|arm64]

Its files are those of the Debian package but for completion of zsh and the texts about the package.
Equal input gives equal bytes: files have the time of the last commit, or of SOURCE_DATE_EPOCH. The
package for another architecture is made of its wheels; nothing of it is run.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # It may be run as a file.

from scripts.build_deb import debian_version  # noqa: E402 - see above
from scripts.build_steps import MAINTAINER, architecture, epoch, run, version  # noqa: E402
from scripts.bundled_packages import PLATFORMS, PYTHON, least_glibc  # noqa: E402
from scripts.debian_copyright import LIBRARIES, copyright_file, license_name  # noqa: E402
from scripts.package_tree import DOC, HOME, SITE, date_and_open, make_tree  # noqa: E402

SOURCES = ROOT / "packaging" / "rpm"
DIST = ROOT / "dist"
RELEASE = "1"
SCRIPTS = ("post", "preun", "postun", "posttrans")
LICENSES = "usr/share/licenses/openimds"
GLIBC = 34
"""Minor version of glibc 2 in Enterprise Linux 9, which wheels may ask for."""
REQUIRED = (
    f"/usr/bin/python{PYTHON}",
    "/usr/bin/kill",  # The units reload a service by it.
    "systemd",
)
RECOMMENDED = ("iproute", "libpq", "nftables")
SUGGESTED = ("passt",)
SHARED = ("usr/share/bash-completion", "usr/share/fish", "usr/share/zsh")
"""Folders that other packages own as well, with the same mode."""
OWNED = ("etc/openimds", HOME, "usr/share/openimds", DOC, LICENSES, *SHARED)
_SETTINGS = {
    # Scripts that strip and compile would change the wheels' files by the tools that are here.
    "__os_install_post": "%{nil}",
    "debug_package": "%{nil}",
    "_build_id_links": "none",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "_buildhost": "openimds.invalid",
    # Enterprise Linux 9 reads zstd; one thread, as where a stream is cut depends on their number.
    "_binary_payload": "w9.zstdio",
    # Modules and libraries inside are for the package alone, and ask for none of the system's.
    "__python_requires": "%{nil}",
    "__pythondist_requires": "%{nil}",
    "__provides_exclude_from": f"^/{HOME}/",
    "__requires_exclude": f"^/{HOME}/bin/python3$",
}
_DESCRIPTION = """\
OpenIMDS answers as Azure does at http://169.254.169.254/metadata: instance
documents, managed identity, attested documents and scheduled events, for one
virtual machine or for a fleet of them, on any Linux host.

Its Python packages are inside, in an environment of their own. Nothing is
enabled or started by the installation."""


def main() -> None:
    """Make the package that the command line asks for, and print its path."""
    if not shutil.which("rpmbuild"):
        sys.exit("make rpm needs rpmbuild, which is in Debian's package rpm: apt-get install rpm")
    parser = argparse.ArgumentParser(description="Make the RPM package of OpenIMDS.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--architecture", choices=PLATFORMS, default=architecture())
    arguments = parser.parse_args()
    print(build(arguments.work.absolute(), arguments.architecture, DIST))


def build(work: Path, wanted: str, folder: Path) -> Path:
    """Build the package for an architecture into a folder; return its path."""
    work.mkdir(parents=True, exist_ok=True)
    root = make_tree(work, wanted)
    if (least := least_glibc(root / SITE)) > GLIBC:
        sys.exit(f"make rpm: a wheel asks for glibc 2.{least}; Enterprise Linux 9 has 2.{GLIBC}")
    # Where the system's libraries are in lib64, so are those of virtual environments.
    (root / HOME / "lib64").symlink_to("lib")
    zsh = root / "usr/share/zsh"
    (zsh / "vendor-completions").rename(zsh / "site-functions")
    (root / LICENSES).mkdir(parents=True)
    (root / LICENSES / "copyright").write_text(copyright_file(root / SITE, SITE), "utf-8")
    shutil.copyfile(SOURCES / "README.rpm", root / DOC / "README.rpm")
    date_and_open(root)
    folder.mkdir(exist_ok=True)
    return pack(folder, spec(root, debian_version(version())), wanted)


def pack(folder: Path, recipe: str, wanted: str) -> Path:
    """Run rpmbuild on a recipe; return the path of the package in a folder."""
    # rpmbuild takes no spaces in its paths.
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "openimds.spec").write_text(recipe, "utf-8")
        settings = _SETTINGS | {"_topdir": name, "_rpmdir": f"{name}/made"}
        run(
            "rpmbuild",
            "--quiet",
            "-bb",
            f"--target={PLATFORMS[wanted]}-linux",
            *(f"--define={key} {value}" for key, value in settings.items()),
            f"{name}/openimds.spec",
        )
        (made,) = Path(name).glob("made/*/*.rpm")
        return Path(shutil.copyfile(made, folder / made.name))


def spec(root: Path, number: str) -> str:
    """Return the recipe of a version of the package, whose files lie in a folder."""
    fields = {
        "Name": "openimds",
        "Version": number,
        "Release": RELEASE,
        "Summary": "Open Azure Instance Metadata Service",
        "License": " AND ".join(licenses(root / SITE)),
        "Requires(post)": "systemd",
    }
    rows = [f"{name}: {text}" for name, text in fields.items()]
    rows += [f"Requires: {name}" for name in REQUIRED]
    rows += [f"Recommends: {name}" for name in RECOMMENDED]
    rows += [f"Suggests: {name}" for name in SUGGESTED]
    parts = ["\n".join(rows), f"%description\n{_DESCRIPTION}"]
    parts.append(f'%install\nmkdir -p %{{buildroot}}\ncp -a "{root}/." %{{buildroot}}')
    for name in SCRIPTS:
        text = (SOURCES / name).read_text().replace("%", "%%")
        parts.append(f"%{name}\nset -e\n{text.strip()}")
    parts.append("\n".join(("%files", "%defattr(-, root, root)", *files(root))))
    when = time.strftime("%a %b %d %Y", time.gmtime(epoch()))
    parts.append(
        f"%changelog\n* {when} {MAINTAINER} - {number}-{RELEASE}\n"
        f"- The changes are in /{DOC}/changelog.gz."
    )
    return "\n\n".join(parts) + "\n"


def files(root: Path) -> Iterator[str]:
    """Yield the rows of a package's files and of the folders that it owns."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_dir() and not path.is_symlink():
            if any(name.is_relative_to(folder) for folder in OWNED):
                yield f'%dir "/{name}"'
        elif name.parts[0] == "etc":
            yield f'%config(noreplace) "/{name}"'
        elif name.is_relative_to(LICENSES):
            yield f'%license "/{name}"'
        elif name.is_relative_to(DOC) or name.is_relative_to("usr/share/man"):
            yield f'%doc "/{name}"'
        else:
            yield f'"/{name}"'


def licenses(site: Path) -> list[str]:
    """Return the licences of the files in SPDX's names, ours first."""
    found = {license_name(folder) for folder in site.glob("*.dist-info")}
    found |= {library.license for library in LIBRARIES.values()}
    found = {part for name in found for part in name.split(" AND ")}
    named = [f"({name})" if " OR " in name else name for name in sorted(found - {"Apache-2.0"})]
    return ["Apache-2.0", *named]


if __name__ == "__main__":
    main()
