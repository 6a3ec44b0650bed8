"""Move this process into a private network namespace with 169.254.169.254 on its `lo`.

Root makes only the network namespace. Other users make a user namespace first, in which their own
user and group are mapped to themselves and no others exist. Where the kernel refuses, the error
names the restriction and the remedy.
"""

import errno
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct

from openimds.errors import Error
from openimds.linux import syscalls
from openimds.linux.covered_file import hide_mounts
from openimds.linux.hosts_file import map_hosts
from openimds.linux.loopback import IMDS, raise_loopback
from openimds.linux.platform import IS_LINUX

_PROC = Path("/proc")
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_TLS_PROXIES = ("https_proxy", "HTTPS_PROXY")
_NO_PROXY = ("no_proxy", "NO_PROXY")
_MEMORY = syscalls.NO_SUID | syscalls.NO_DEV | syscalls.NO_EXEC
_LOCAL = f"{IMDS},127.0.0.1,localhost"
_ALTERNATIVE = "or type `openimds serve`, and point clients at it with `openimds env`"


UNAVAILABLE = "network namespaces are unavailable"
NEEDS_LINUX = f"{UNAVAILABLE}: only Linux has them"


class NamespaceError(Error):
    """This process may not make a network namespace of its own."""


class KernelRestriction(Struct, frozen=True):
    """A line of a /proc file that shows a restriction, and the remedy."""

    file: str
    line: str
    reason: str
    remedy: str


RESTRICTIONS = (
    KernelRestriction(
        "sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone is 0",
        "type `sudo sysctl kernel.unprivileged_userns_clone=1`",
    ),
    KernelRestriction(
        "sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces is 0",
        "type `sudo sysctl user.max_user_namespaces=10000`",
    ),
    KernelRestriction(
        "sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns is 1",
        "type `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    KernelRestriction(
        "self/status",
        "Seccomp:\t2",
        "a seccomp filter, such as that of a container, is on this process",
        "start the container with `docker run --security-opt seccomp=unconfined "
        "--security-opt apparmor=unconfined`, or with `--cap-add SYS_ADMIN --cap-add NET_ADMIN`",
    ),
)
"""In the order in which they are checked."""


def enter(hosts: Mapping[str, str] = MappingProxyType({}), memory: str = "") -> None:
    """Move this process into a new network namespace with 169.254.169.254 on `lo`.

    The process must have a single thread. Its open sockets stay in their namespace. `hosts` maps
    names to addresses that `lo` gets as well; the process then has mounts of its own, too. There
    the folder `memory`, if named, holds files in memory.

    Raises:
        NamespaceError: the kernel refuses; the text names the cause and the remedy.
    """
    if not IS_LINUX:
        raise NamespaceError(NEEDS_LINUX)
    unshare_namespaces(syscalls.NEW_NET | (syscalls.NEW_MOUNTS if hosts else 0))
    try:
        if hosts:
            hide_mounts()
            map_hosts(hosts)
            if memory:
                syscalls.mount("tmpfs", memory, "tmpfs", _MEMORY, "mode=0700")
        raise_loopback({IMDS, *hosts.values()})
    except OSError as error:
        raise refusal(error) from None


def unshare_namespaces(flags: int) -> bool:
    """Move into new namespaces by flags, with a new user namespace where that is required.

    Returns whether there is a new user namespace.

    Raises:
        NamespaceError: as `enter`.
    """
    try:
        syscalls.unshare(flags)
    except PermissionError:
        unshare_users(flags)
        return True
    except OSError as error:
        raise refusal(error) from None
    return False


def unshare_users(flags: int) -> None:
    """Move into a user namespace of this user alone, and into others by flags.

    Raises:
        NamespaceError: as `enter`.
    """
    user, group = os.geteuid(), os.getegid()
    own = _PROC / "self"
    try:
        syscalls.unshare(syscalls.NEW_USER | flags)
        # The kernel requires this before gid_map: dropping a group could bypass files that deny it.
        (own / "setgroups").write_text("deny")
        (own / "gid_map").write_text(f"{group} {group} 1")
        (own / "uid_map").write_text(f"{user} {user} 1")
    except OSError as error:
        raise refusal(error) from None


def refusal(error: OSError, proc: Path = _PROC) -> NamespaceError:
    """Return the error for a refusal of the kernel: its cause and a remedy."""
    if error.errno == errno.EINVAL:
        reason = "this kernel lacks them, or this process has threads"
        return _unavailable(reason, "start it with a single thread")
    for row in RESTRICTIONS:
        if row.line in _lines(proc / row.file):
            return _unavailable(row.reason, row.remedy)
    reason = f"{error.filename or 'kernel'}: {(error.strerror or str(error)).lower()}"
    return _unavailable(reason, "run it as root" if os.geteuid() else "give it CAP_SYS_ADMIN")


def _unavailable(reason: str, remedy: str) -> NamespaceError:
    return NamespaceError(f"{UNAVAILABLE}: {reason}; {remedy}, {_ALTERNATIVE}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def no_proxy_variables(environment: Mapping[str, str], hosts: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables that exempt local addresses from the proxies of an environment.

    `hosts` are exempt as well; they are asked by https, too. Without a proxy there are none.
    """
    hosts = tuple(hosts)
    proxies = (*_PROXIES, *_TLS_PROXIES) if hosts else _PROXIES
    if not any(environment.get(name) for name in proxies):
        return {}
    local = ",".join([_LOCAL, *hosts])
    return {name: ",".join(filter(None, (environment.get(name), local))) for name in _NO_PROXY}


def why_unavailable() -> str:
    """Return the reason why `enter` would fail, or an empty string; a child tries it."""
    if not IS_LINUX:
        return NEEDS_LINUX
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The child takes no lock that another thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _try(writer)
    os.close(writer)
    with os.fdopen(reader, "r", encoding="utf-8") as pipe:
        reason = pipe.read()
    os.waitpid(child, 0)
    return reason


def _try(writer: int) -> None:
    """Enter a private network namespace, write the reason of a failure, and exit."""
    reason = "internal error while entering a network namespace; please report it"
    try:
        enter()
        reason = ""
    except NamespaceError as error:
        reason = str(error)
    finally:
        os.write(writer, reason.encode())
        os._exit(0)
