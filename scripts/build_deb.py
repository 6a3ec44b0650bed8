"""Make the Debian package of OpenIMDS in `dist/`: `make deb` calls this script.

    build_deb.py WORK [--architecture amd64|arm64]

Equal input gives equal bytes: files have the time of the last commit, or of SOURCE_DATE_EPOCH. The
package for another architecture is made of its wheels; nothing of it is run.
"""

import argparse
import hashlib
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # It may be run as a file.

from scripts.build_steps import MAINTAINER, architecture, run, version  # noqa: E402 - see above
from scripts.bundled_packages import PLATFORMS, PYTHON, least_glibc  # noqa: E402
from scripts.debian_copyright import copyright_file  # noqa: E402
from scripts.package_tree import DOC, SITE, date_and_open, make_tree  # noqa: E402

SOURCES = ROOT / "packaging" / "deb"
DIST = ROOT / "dist"
SCRIPTS = ("postinst", "prerm", "postrm")
_PRERELEASE = re.compile(r"\.?(dev|a|b|rc)(?=\d)")


def main() -> None:
    """Make the package that the command line asks for, and print its path."""
    if not shutil.which("dpkg-deb"):
        sys.exit("make deb needs dpkg-deb, which is in Debian's package dpkg")
    parser = argparse.ArgumentParser(description="Make the Debian package of OpenIMDS.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--architecture", choices=PLATFORMS, default=architecture())
    arguments = parser.parse_args()
    print(build(arguments.work.absolute(), arguments.architecture, DIST))


def build(work: Path, wanted: str, folder: Path) -> Path:
    """Build the package for an architecture into a folder; return its path."""
    work.mkdir(parents=True, exist_ok=True)
    root = make_tree(work, wanted)
    (root / DOC / "copyright").write_text(copyright_file(root / SITE, SITE), "utf-8")
    shutil.copyfile(SOURCES / "README.Debian", root / DOC / "README.Debian")
    texts = {"control": control(root, wanted), "md5sums": md5sums(root)}
    if names := conffiles(root):
        texts["conffiles"] = names
    parts = root / "DEBIAN"
    parts.mkdir()
    for name, text in texts.items():
        (parts / name).write_text(text)
    for name in SCRIPTS:
        shutil.copyfile(SOURCES / name, parts / name)
        (parts / name).chmod(0o755)
    date_and_open(root)
    folder.mkdir(exist_ok=True)
    path = folder / f"openimds_{debian_version(version())}_{wanted}.deb"
    # One thread: where a stream is cut depends on the number of them. Level 1 takes a tenth of the
    # time of the default, for a sixth more bytes.
    options = ("--root-owner-group", "--threads-max=1", "-Zxz", "-z1")
    run("dpkg-deb", *options, "--build", root, path)
    return path


def control(root: Path, wanted: str) -> str:
    """Return the fields of the package, but for its files."""
    major, minor = PYTHON.split(".")
    depends = (
        f"python3 (>= {PYTHON}~)",
        f"python3 (<< {major}.{int(minor) + 1}~)",
        f"libc6 (>= 2.{least_glibc(root / SITE)})",
        "procps",  # The units reload a service by kill.
        "systemd | systemd-standalone-sysusers",
    )
    fields = {
        "Package": "openimds",
        "Version": debian_version(version()),
        "Architecture": wanted,
        "Maintainer": MAINTAINER,
        "Installed-Size": str(installed_size(root)),
        "Depends": ", ".join(depends),
        "Recommends": "iproute2, libpq5, nftables",
        "Suggests": "passt",
        "Section": "net",
        "Priority": "optional",
        "Description": "open Azure Instance Metadata Service\n"
        " OpenIMDS answers as Azure does at http://169.254.169.254/metadata: instance\n"
        " documents, managed identity, attested documents and scheduled events, for one\n"
        " virtual machine or for a fleet of them, on any Linux host.\n"
        " .\n"
        " Its Python packages are inside, in an environment of their own. Nothing is\n"
        " enabled or started by the installation.",
    }
    return "".join(f"{name}: {text}\n" for name, text in fields.items())


def debian_version(text: str) -> str:
    """Return a version of Python's form in Debian's: a pre-release sorts before its release."""
    return _PRERELEASE.sub(r"~\1", text)


def installed_size(root: Path) -> int:
    """Return the kibibytes that the files take, as Debian's policy counts them."""
    paths = [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]
    files = sum(1 if path.is_symlink() else -(-path.stat().st_size // 1024) for path in paths)
    return files + sum(1 for path in root.rglob("*") if path.is_dir())


def md5sums(root: Path) -> str:
    """Return the digest of each file that is no configuration file."""
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not path.is_symlink() and name.parts[0] != "etc":
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            found.append(f"{digest}  {name}\n")
    return "".join(found)


def conffiles(root: Path) -> str:
    """Return the files below /etc: dpkg keeps an operator's changes of them."""
    paths = sorted(path for path in (root / "etc").rglob("*") if path.is_file())
    return "".join(f"/{path.relative_to(root)}\n" for path in paths)


if __name__ == "__main__":
    main()
