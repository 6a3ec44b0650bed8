"""A root folder for another architecture, whose packages were unpacked and whose scripts never ran.

What the scripts make is the same on every architecture: users, `nsswitch.conf`, the bundle of
certificates, compiled modules. It is taken from the root of this machine's own architecture, whose
scripts ran. Only the cache of the loader is of one architecture; without it the loader looks into
its default folders, where all libraries of the image are.
"""

import io
import os
import subprocess
import tarfile
from pathlib import Path

CACHE = "etc/ld.so.cache"
_ARCHIVES = "var/cache/apt/archives"
_MOUNTED = ("dev", "proc", "sys")
"""Folders that mmdebstrap fills while its hooks run."""
_LISTS = "var/lib/dpkg/info"


def record_packages(root: Path) -> None:
    """Write the list of packages that dpkg would have written, from the archives beside it."""
    paragraphs = []
    (root / _LISTS).mkdir(parents=True, exist_ok=True)
    for archive in sorted((root / _ARCHIVES).glob("*.deb")):
        fields = _run("dpkg-deb", "--field", archive).decode()
        name = archive.name.partition("_")[0]
        head, _, rest = fields.strip().partition("\n")
        paragraphs.append(f"{head}\nStatus: install ok installed\n{rest}\n")
        with tarfile.open(fileobj=io.BytesIO(_run("dpkg-deb", "--fsys-tarfile", archive))) as files:
            names = [f"/{_name(member)}\n" for member in files if _name(member) not in {"", "."}]
        (root / _LISTS / f"{name}.list").write_text("/.\n" + "".join(names))
    (root / "var/lib/dpkg/status").write_text("\n".join(paragraphs), "utf-8")


def _run(*command: str | Path) -> bytes:
    return subprocess.run(command, capture_output=True, check=True).stdout


def fill(root: Path, archive: Path, machine: str) -> None:
    """Add what scripts made in an archive's root, but for a machine's files."""
    with tarfile.open(archive) as native:
        members = {_name(member): member for member in native}
        for name, member in members.items():
            if name in {"", CACHE, *_MOUNTED} or machine in name.replace("-", "_"):
                continue
            path = root / name
            if member.issym():
                _make_link(path, member.linkname)
            elif member.isdir():
                path.mkdir(exist_ok=True)
            elif not path.exists():
                if name.endswith(".pyc") and not _is_of_same_source(root, native, members, name):
                    continue
                path.write_bytes(_content(native, member))
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(member.mode)


def _name(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./").rstrip("/")


def _make_link(path: Path, target: str) -> None:
    if not path.is_symlink():
        # A package has an empty folder where its script puts a link: /var/run.
        if path.is_dir():
            path.rmdir()
        path.symlink_to(target)


def _is_of_same_source(
    root: Path, native: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str
) -> bool:
    """Tell whether a compiled module is that of a source in the folder."""
    path = Path(name)
    member = members[f"{path.parents[1]}/{path.name.partition('.')[0]}.py"]
    if member.issym():  # sitecustomize.py is a link to a file in /etc.
        member = members[member.linkname.lstrip("/")]
    here = root / _name(member)
    return here.is_file() and here.read_bytes() == _content(native, member)


def _content(native: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = native.extractfile(member)
    assert file, f"{member.name} is a file"
    return file.read()
