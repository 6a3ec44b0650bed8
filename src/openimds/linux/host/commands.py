"""The programs `ip`, `nft` and `unshare`: started, and what they say when they cannot."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from openimds.errors import Error

Run: TypeAlias = Callable[[tuple[str, ...], str], str]
"""Runs a command with a text on its stdin and returns what it prints; ToolError: it failed."""

PACKAGES = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux"}
"""By program, the package of Debian that has it."""
_LOCK = Path("/run/openimds-host.lock")
_NET_ADMIN = 12
_MOST_S = 60


class ToolError(Error):
    """A program is missing, or says no."""


def run(command: tuple[str, ...], text: str = "") -> str:
    """Run a command as `Run` says.

    Raises:
        ToolError: it is not installed, ends with another code than 0, or does not end.
    """
    name = command[0]
    try:
        ran = subprocess.run(  # noqa: S603 - words of our own, and names that were read
            command, input=text, capture_output=True, text=True, check=False, timeout=_MOST_S
        )
    except FileNotFoundError:
        package = PACKAGES.get(name, name)
        raise ToolError(f"{name} is not installed; type apt-get install {package}") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{' '.join(command)} has not ended after {_MOST_S} s") from None
    if ran.returncode:
        said = ran.stderr.strip() or f"it ended with {ran.returncode}"
        raise ToolError(f"{' '.join(command)}: {said}")
    return ran.stdout


@contextmanager
def host_lock(path: Path = _LOCK) -> Iterator[None]:
    """Do something while no other process does it: guests that start together each call for it.

    Raises:
        ToolError: the lock's file cannot be made.
    """
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
    """Tell whether this process may change the network it is in (CAP_NET_ADMIN)."""
    lines = status.read_text("utf-8").splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _NET_ADMIN & 1)
