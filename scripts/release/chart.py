"""The chart of Kubernetes as one file, with equal bytes for equal commits."""

import gzip
import subprocess
import tarfile
from pathlib import Path


def pack(chart: Path, target: Path, made_s: int) -> None:
    """Write the files of a chart into an archive, below a folder of its name.

    Those that git knows are in it, and have the time `made_s`. Helm takes the archive in the place
    of the folder.
    """
    words = ["git", "ls-files", "-z"]
    listed = subprocess.run(words, cwd=chart, capture_output=True, text=True, check=True).stdout
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=made_s) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path in sorted(chart / name for name in listed.split("\0") if name):
            entry = archive.gettarinfo(path, f"openimds/{path.relative_to(chart).as_posix()}")
            entry.mtime, entry.mode = made_s, 0o644
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            with path.open("rb") as content:
                archive.addfile(entry, content)
