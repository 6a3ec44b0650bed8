"""`openimds exec` run by an ordinary user, and all traces that it leaves.

A run has a mark in its environment, which its processes inherit. So its processes are found among
all others of the machine, and with them its namespaces.
"""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import pytest
from msgspec import Struct

import openimds
from openimds.linux.private_netns import why_unavailable
from tests.system.process import clean_environment

URL = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
NAME = "http://169.254.169.254/metadata/instance/compute/name?api-version=2021-02-01&format=text"
CURL = ["curl", "-sS", "-H", "Metadata:true"]
_UID = 64123
"""A free user id: its files and processes come from a test."""
_MARK = "SANDBOX_MARK"
_NAMESPACES = ("net", "pid", "mnt", "user")
_MOST_S = 60


class User(Struct, frozen=True):
    """A user without privileges: the command prefix to become it, its Python, its id."""

    become: tuple[str, ...]
    python: str
    uid: int


@cache
def ordinary() -> User | str:
    """Return an ordinary user, or the reason why there is none here.

    Root becomes an unknown user, if that user can read a Python with OpenIMDS; else a user without
    privileges who still has root's files.
    """
    if reason := why_unavailable():
        return reason
    if os.geteuid():
        return User((), sys.executable, os.geteuid())
    # env runs after setpriv, so it fails if the user cannot read the program.
    other = ("setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups", "env")
    mapped = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
    version = "python{}.{}".format(*sys.version_info)
    pythons = [shutil.which(version, path=folder) for folder in ("/usr/bin", "/usr/local/bin")]
    for become, uid in ((other, _UID), (mapped, 0)):
        for python in filter(None, [sys.executable, *pythons]):
            user = User(become, python, uid)
            with suppress(OSError):
                if not subprocess.run(
                    [*become, python, "-m", "openimds", "--version"],
                    env=environment(),
                    capture_output=True,
                    check=False,
                ).returncode:
                    return user
    return "no Python that an ordinary user can run has OpenIMDS"


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which other Pythons of this version find our packages."""
    files = filter(None, (openimds.__file__, msgspec.__file__))
    paths = [str(Path(file).parents[1]) for file in files]
    return clean_environment({"PYTHONPATH": ":".join(paths), **more})


class Place:
    """A folder that is the user's home and working directory, and the runs in it."""

    def __init__(self, user: User, folder: Path) -> None:
        self.user, self.folder, self.mark = user, folder, uuid.uuid4().hex
        self._started: list[subprocess.Popen[str]] = []

    @property
    def openimds(self) -> list[str]:
        """The command as the user runs it."""
        return [*self.user.become, self.user.python, "-m", "openimds"]

    @property
    def inside(self) -> str:
        """The command as it is typed in a sandbox, where the user is already set."""
        return f"{self.user.python} -m openimds"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the user's environment."""
        home = str(self.folder)
        return environment(HOME=home, TMPDIR=home, **{_MARK: self.mark}, **more)

    def start(
        self, *arguments: str, instead: Sequence[str] = (), **more: str
    ) -> "subprocess.Popen[str]":
        """Start `openimds exec` with pipes, as the user or by another prefix."""
        started = subprocess.Popen(
            self._command(arguments, instead),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(**more),
        )
        self._started.append(started)
        return started

    def end(self) -> None:
        """End the runs that a test has left."""
        for process in self._started:
            process.kill()
            process.communicate(timeout=_MOST_S)

    def run(
        self, *arguments: str, instead: Sequence[str] = (), text: str = "", **more: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run `openimds exec` to its end."""
        return subprocess.run(
            self._command(arguments, instead),
            input=text,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment(**more),
            timeout=_MOST_S,
            check=False,
        )

    def _command(self, arguments: Sequence[str], instead: Sequence[str]) -> list[str]:
        python = sys.executable if instead else self.user.python
        return [*(instead or self.user.become), python, "-m", "openimds", "exec", *arguments]

    def processes(self) -> set[int]:
        """Return the ids of all processes of the runs in this place."""
        own = f"{_MARK}={self.mark}".encode()
        pids = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if own in path.read_bytes():
                    pids.add(int(path.parent.name))
        return pids

    def files(self) -> set[Path]:
        """Return the files of the user, in the place and in public folders."""
        files = set(self.folder.rglob("*"))
        if self.user.uid == _UID:
            for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
                listed = subprocess.run(
                    ["find", folder, "-uid", str(_UID)], capture_output=True, text=True, check=False
                )
                files |= {Path(line) for line in listed.stdout.splitlines()}
        return files - {self.folder}


def namespaces(processes: set[int] | None = None) -> set[str]:
    """Return the namespaces of some processes, or of all of the machine."""
    links = set()
    for folder in Path("/proc").glob("[0-9]*"):
        if processes is None or int(folder.name) in processes:
            for kind in _NAMESPACES:
                with suppress(OSError):
                    links.add(str((folder / "ns" / kind).readlink()))
    return links


def until(is_so: Callable[[], bool], within_s: float = 20) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)


@pytest.fixture
def place() -> Iterator[Place]:
    """A new place of an ordinary user."""
    user = ordinary()
    if isinstance(user, str):
        pytest.skip(user)
    # The folders of pytest are closed to other users.
    folder = Path(mkdtemp(prefix="sandbox-"))
    folder.chmod(0o755)
    if user.uid:
        os.chown(folder, user.uid, -1)
    workspace = Place(user, folder)
    yield workspace
    workspace.end()
    shutil.rmtree(folder)
