"""`openimds exec` run by an ordinary user, and all traces that it leaves.

Each test process claims a user id, and each run has a mark in its environment, which its processes
inherit. So a test compares its own processes, namespaces and files, and nothing else of the
machine: several copies of the suite can run at the same time.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import pytest
from msgspec import Struct, structs

import openimds
from openimds.linux.private_netns import why_unavailable
from tests.system.process import clean_environment

URL = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
NAME = "http://169.254.169.254/metadata/instance/compute/name?api-version=2021-02-01&format=text"
CURL = ["curl", "-sS", "-H", "Metadata:true"]
_UIDS = range(60578, 61184)
"""User ids that systemd leaves unused (systemd's UIDS-GIDS)."""
_PUBLIC_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run")
_MARK = "SANDBOX_MARK"
_NAMESPACES = ("net", "pid", "mnt", "user")
_TIMEOUT_S = 60


class User(Struct, frozen=True):
    """A user without privileges.

    Attributes:
        become: the command prefix by which a test becomes this user.
        python: the Python that the user runs.
        uid: the user id outside of all namespaces.
        is_claimed: whether no process or file of the id comes from elsewhere.
    """

    become: tuple[str, ...]
    python: str
    uid: int
    is_claimed: bool = False


@cache
def _claim_uid() -> int:
    """Return a user id that no other process of the machine has or claims.

    The claim is an abstract socket address, which ends with this process.
    """
    used = {_uid(folder) for folder in Path("/proc").glob("[0-9]*")}
    for uid in _UIDS:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0openimds-test-uid-{uid}")
        except OSError:
            claim.close()
            continue
        claim.detach()
        if uid not in used:
            return uid
    raise RuntimeError(f"no free user id in {_UIDS}")


def _uid(folder: Path) -> int | None:
    """Return the real user id of a live process by its folder in /proc."""
    try:
        fields = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines()[:12]
        )
    except OSError:
        return None
    return None if fields["State"].strip()[0] in "ZX" else int(fields["Uid"].split()[0])


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
    claimed = _claim_uid()
    # env runs after setpriv, so it fails if the user cannot read the program.
    other = ("setpriv", f"--reuid={claimed}", f"--regid={claimed}", "--clear-groups", "env")
    mapped = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
    version = "python{}.{}".format(*sys.version_info)
    pythons = [shutil.which(version, path=folder) for folder in ("/usr/bin", "/usr/local/bin")]
    for become, uid in ((other, claimed), (mapped, 0)):
        for python in filter(None, [sys.executable, *pythons]):
            user = User(become, python, uid, is_claimed=uid == claimed)
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
            process.communicate(timeout=_TIMEOUT_S)

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
            timeout=_TIMEOUT_S,
            check=False,
        )

    def _command(self, arguments: Sequence[str], instead: Sequence[str]) -> list[str]:
        python = sys.executable if instead else self.user.python
        return [*(instead or self.user.become), python, "-m", "openimds", "exec", *arguments]

    def processes(self) -> set[int]:
        """Return the process ids of the runs in this place, by mark or user id."""
        own = f"{_MARK}={self.mark}".encode()
        pids = set()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if own in (folder / "environ").read_bytes() or (
                    self.user.is_claimed and _uid(folder) == self.user.uid
                ):
                    pids.add(int(folder.name))
        return pids

    def namespaces(self, *, without: set[int]) -> set[str]:
        """Return the namespaces of the runs here, but for those of some processes."""
        return _namespaces(self.processes()) - _namespaces(without)

    def files(self) -> set[Path]:
        """Return the files of the user, in the place and in public folders."""
        files = set(self.folder.rglob("*"))
        if self.user.is_claimed:
            for folder in _PUBLIC_FOLDERS:
                files |= set(_files(folder, self.user.uid))
        return files - {self.folder}


def _namespaces(pids: set[int]) -> set[str]:
    links = set()
    for pid in pids:
        for kind in _NAMESPACES:
            with suppress(OSError):
                links.add(str(Path("/proc", str(pid), "ns", kind).readlink()))
    return links


def _files(folder: str, uid: int) -> Iterator[Path]:
    """Yield the files of a user in a public folder and its writable folders."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            is_own = status.st_uid == uid
            if is_own:
                yield Path(entry.path)
            if stat.S_ISDIR(status.st_mode) and (is_own or status.st_mode & stat.S_IWOTH):
                yield from _files(entry.path, uid)


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


class Network:
    """The network that the runs of a place start from."""

    def __init__(self, holder: int | None) -> None:
        self._holder = holder

    def devices(self) -> set[str]:
        """Return the names of its devices; empty where the network is shared with the machine.

        In the machine's own network the kernel lets no ordinary user make a device.
        """
        if self._holder is None:
            return set()
        lines = Path(f"/proc/{self._holder}/net/dev").read_text().splitlines()[2:]
        return {line.partition(":")[0].strip() for line in lines}


@pytest.fixture
def network(place: Place) -> Iterator[Network]:
    """A network for the runs of this test alone, where root can make one."""
    if os.geteuid():
        yield Network(None)
        return
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "echo up; exec sleep infinity"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        assert holder.stdout
        is_up = holder.stdout.readline() == "up\n"
        if is_up:
            enter = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
            place.user = structs.replace(place.user, become=(*enter, *place.user.become))
        yield Network(holder.pid if is_up else None)
        holder.kill()
