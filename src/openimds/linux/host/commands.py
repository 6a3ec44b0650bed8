"""Run the programs `ip`, `nft` and `unshare`, and report their failures."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from openimds.errors import Error
from openimds.linux.platform import IS_LINUX

Run: TypeAlias = Callable[[tuple[str, ...], str], str]
"""Runs a command with a text on stdin and returns its stdout; raises ToolError."""

PACKAGES = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux"}
"""By program, its Debian package."""
_LOCK = Path("/run/openimds-host.lock")
_NET_ADMIN = 12
_MAX_S = 60


class ToolError(Error):
    """A program is missing or fails."""


def run(command: tuple[str, ...], text: str = "") -> str:
    """Run a command with a text on stdin, and return its stdout.

    Raises:
        ToolError: the program is not installed, exits with another code than 0, or does not end.
    """
    name = command[0]
    try:
        completed = subprocess.run(  # noqa: S603 - fixed words, and names that were read
            command, input=text, capture_output=True, text=True, check=False, timeout=_MAX_S
        )
    except FileNotFoundError:
        package = PACKAGES.get(name, name)
        raise ToolError(f"{name} is not installed; type apt-get install {package}") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{' '.join(command)} is still running after {_MAX_S} s") from None
    if completed.returncode:
        reason = completed.stderr.strip() or f"exit code {completed.returncode}"
        raise ToolError(f"{' '.join(command)}: {reason}")
    return completed.stdout


@contextmanager
def host_lock(path: Path = _LOCK) -> Iterator[None]:
    """Hold the lock of host rules: hooks of guests that start together each run `up`.

    Raises:
        ToolError: the lock file cannot be made.
    """
    import fcntl  # noqa: PLC0415 - other systems import this file, and some lack it

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ToolError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def may_configure(status: Path = Path("/proc/self/status")) -> bool:
    """Tell whether this process may configure its network (CAP_NET_ADMIN)."""
    if not IS_LINUX:
        return False
    lines = status.read_text("utf-8").splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _NET_ADMIN & 1)
