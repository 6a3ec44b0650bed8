"""Find the named network namespaces of pods.

containerd and CRI-O bind the namespace of each pod to a name in /run/netns. A process of the pod
has the uid of the pod in the path of its control group, with `_` for `-` where systemd names the
groups; its /proc entry leads to its namespace. The name with the same inode is the pod's. A
process may have unshared a namespace of its own, as passt does: that one has no name there.
"""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from openimds.errors import Error
from openimds.linux.named_netns import FOLDER

PROC = Path("/proc")
CGROUP_BYTES = 65_536
"""The part of a process's list of control groups that is read."""
_POD = re.compile(
    r"(?:^|[/:-])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[./\n]|$)"
)
"""A pod's uid; that of a static pod is a digest of 32 digits."""
_Identity = tuple[int, int]
_stat = os.stat


class PodNetnsError(Error):
    """The folder of namespaces or of processes cannot be read."""


class PodNetns:
    """The names of pods' network namespaces.

    A found name is remembered as long as it means the same namespace: a pod never changes its own.
    """

    def __init__(self, proc: Path = PROC, folder: Path = FOLDER) -> None:
        """Read nothing yet; `proc` is that of the node, which may be mounted elsewhere."""
        self._proc, self._folder = proc, folder
        self.denied: dict[str, int] = {}
        """Count of processes that do not show their namespace, by pods without a name."""
        self._found: dict[str, tuple[str, _Identity]] = {}

    def names(self, pods: Collection[str]) -> dict[str, str]:
        """Return the names by the uids of pods, of each that has exactly one.

        Raises:
            PodNetnsError: a folder cannot be read.
        """
        self._found = {
            pod: (name, identity)
            for pod, (name, identity) in self._found.items()
            if pod in pods and _identity(self._folder / name) == identity
        }
        unknown = {pod.lower() for pod in pods} - self._found.keys()
        self.denied = {}
        if unknown:
            named = self._named()
            for pod, identities in self._used(unknown).items():
                names = [(named[identity], identity) for identity in identities & named.keys()]
                if len(names) == 1:
                    self._found[pod] = names[0]
                    self.denied.pop(pod, None)
        return {pod: name for pod, (name, _) in self._found.items()}

    def _named(self) -> dict[_Identity, str]:
        """Return the names of all named namespaces.

        Raises:
            PodNetnsError: the folder cannot be read.
        """
        found = {}
        for path in sorted(_entries(self._folder)):
            if identity := _identity(path):
                found[identity] = path.name
        return found

    def _used(self, pods: Collection[str]) -> dict[str, set[_Identity]]:
        """Return the namespaces of the processes of pods.

        Raises:
            PodNetnsError: the processes cannot be listed.
        """
        used: dict[str, set[_Identity]] = {}
        for path in _entries(self._proc):
            if not path.name.isdecimal():
                continue
            pod = pod_of(_text(path / "cgroup"))
            if pod not in pods:
                continue
            try:
                status = _stat(path / "ns" / "net")
            except PermissionError:
                self.denied[pod] = self.denied.get(pod, 0) + 1
            except OSError:  # It has ended.
                continue
            else:
                used.setdefault(pod, set()).add((status.st_dev, status.st_ino))
        return used


def pod_of(cgroups: str) -> str:
    """Return the uid of the pod in a process's list of control groups, or nothing."""
    found = _POD.search(cgroups)
    return found[1].replace("_", "-") if found else ""


def _entries(folder: Path) -> Iterator[Path]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - thousands of entries, of which few are wanted
    except OSError as error:
        raise PodNetnsError(
            f"{folder}: {(error.strerror or str(error)).lower()}. Mount that of the node, as "
            "docs/use/kubevirt.md has it"
        ) from None
    return (folder / name for name in names)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(CGROUP_BYTES).decode("utf-8", "replace")
    except OSError:  # The process has ended.
        return ""


def _identity(path: Path) -> _Identity | None:
    try:
        status = _stat(path)
    except OSError:  # The namespace has ended.
        return None
    return status.st_dev, status.st_ino
