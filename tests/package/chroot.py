"""A root folder of Debian 12, in which tests install packages.

mmdebstrap makes it once, in `build/chroot`, with the archives of all packages that a test installs:
a test needs no network and has none but the loopback of its own namespace. Changes go into a layer
above it (overlayfs). No systemd runs inside, and `policy-rc.d` keeps every service from starting.
The rest of this machine is read-only while packages' scripts run.
"""

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.package.resolutions import ROOT

SUITE = "bookworm"
INCLUDED = ("curl",)
"""Packages of the chroot beyond apt and the essential ones: the page's reader has them."""
NEEDED = ("iproute2", "libpq5", "nftables", "procps", "python3", "python3-venv", "rpm", "systemd")
"""Packages whose archives, with those that they need, wait in the chroot."""
FOLDER = ROOT / "build" / "chroot"
_DOWNLOAD = (
    "APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get install --yes --quiet --download-only "
    "--option=APT::Install-Recommends=true " + " ".join(NEEDED)
)
_POLICY = """
printf '#!/bin/sh\\nexit 101\\n' > "$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"
"""
_ENTER = """
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/aside" "$2/whole"
ip link set lo up
mount -t proc proc "$2/whole/proc"
mount -t tmpfs tmpfs "$2/whole/run"
cd "$2/whole"
root=$2/whole
shift 2
exec chroot "$root" "$@"
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
_TIMEOUT_S = 300


def base() -> Path:
    """Return the root folder that all layers stand on; skip where it cannot be made.

    With `CI` set, that is a failure.
    """
    refuse = pytest.fail if os.environ.get("CI") else pytest.skip
    if os.geteuid():
        refuse("only root can make a chroot of Debian")
    if not shutil.which("mmdebstrap"):
        refuse("mmdebstrap is not installed")
    name = hashlib.sha256(f"{INCLUDED}{_DOWNLOAD}{_POLICY}".encode()).hexdigest()[:12]
    made = FOLDER / f"{SUITE}-{name}"
    if not made.exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        draft, temporary = FOLDER / "draft", FOLDER / "tmp"
        temporary.mkdir()
        words = [
            *("unshare", "--mount", "--propagation=private", "sh", "-euc", _READ_ONLY, "sh"),
            str(FOLDER),
            *("mmdebstrap", "--quiet", "--variant=apt", "--format=directory"),
            f"--include={','.join(INCLUDED)}",
            *("--skip=cleanup/apt", "--dpkgopt=force-unsafe-io"),
            *("--aptopt=Acquire::Retries 2", f"--customize-hook={_DOWNLOAD}"),
            *(f"--customize-hook={_POLICY}", SUITE, str(draft)),
        ]
        ran = subprocess.run(
            words,
            env={**os.environ, "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        if ran.returncode:
            shutil.rmtree(FOLDER, ignore_errors=True)
            refuse(f"mmdebstrap cannot make a chroot: {ran.stderr.strip()[-300:]}")
        draft.rename(made)
    return made


_READ_ONLY = """
for path in /tmp "$1"; do mount --bind "$path" "$path"; done
mount -o remount,bind,ro /
shift
exec "$@"
"""


class Chroot:
    """A layer above other layers, and the commands that run in it."""

    def __init__(self, folder: Path, *lower: Path) -> None:
        self.folder, self._lower = folder, lower
        for name in ("upper", "aside", "whole"):
            (folder / name).mkdir()

    @property
    def layers(self) -> tuple[Path, ...]:
        """The folders of this one and those below it, for another layer above."""
        return (self.folder / "upper", *self._lower)

    def try_run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command that may fail."""
        lower = ":".join(map(str, self._lower))
        words = ("unshare", *_NAMESPACES, "sh", "-euc", _ENTER, "sh", lower, str(self.folder))
        return subprocess.run(
            [*words, *command],
            env={"PATH": _PATH, "HOME": "/srv", "LANG": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )

    def run(self, *command: str, **environment: str) -> str:
        """Run a command that must succeed; return its stdout, then its stderr."""
        ran = self.try_run(*command, DEBIAN_FRONTEND="noninteractive", **environment)
        assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
        return ran.stdout + ran.stderr

    def shell(self, script: str) -> str:
        """Run lines of a shell; return their output."""
        return self.run("sh", "-euc", script)

    def write(self, name: str, body: str | bytes, mode: int = 0o644) -> None:
        """Write a file of root's, while no command runs."""
        path = self.folder / "upper" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)
        path.chmod(mode)

    def files(self, *but: str) -> set[str]:
        """Return the names of all files but those below some folders."""
        pruned = " -o ".join(f"-path '{name}'" for name in ("/proc", "/run", "/tmp", *but))
        return set(self.shell(f"find / -xdev \\( {pruned} \\) -prune -o -print").splitlines())

    def drop(self) -> None:
        """Remove the layer."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)
