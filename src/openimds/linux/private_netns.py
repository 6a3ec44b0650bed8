"""A private network for this process, with 169.254.169.254 on its `lo`; and why there is none.

Root makes it as root. Everybody else makes a user namespace first, in which a user is who he is:
his own id and group, mapped to themselves, and no others.
"""

import errno
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from openimds.errors import Error
from openimds.linux import syscalls
from openimds.linux.loopback import IMDS, raise_loopback

_PROC = Path("/proc")
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_PAST_THEM = ("no_proxy", "NO_PROXY")
_WITHIN = f"{IMDS},127.0.0.1,localhost"
_ELSEWHERE = "or leave the address alone and point clients at `openimds serve` by `openimds env`"


class NamespaceError(Error):
    """This kernel, or what this process runs in, does not let it have a network of its own."""


class KernelRestriction(Struct, frozen=True):
    """A file of the kernel whose line says that namespaces are forbidden, and what helps."""

    file: str
    line: str
    says: str
    helps: str


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
"""In the order in which they are looked for."""


def enter() -> None:
    """Move this process into a network of its own, where `lo` is up and has 169.254.169.254.

    The process must have one thread only. What it has open stays where it is.

    Raises:
        NamespaceError: it may not; the text says why, and what to do instead.
    """
    unshare_namespaces(syscalls.NEW_NET)
    try:
        raise_loopback()
    except OSError as error:
        raise refusal(error) from None


def unshare_namespaces(flags: int) -> bool:
    """Leave the namespaces that the flags name, and that of users too where only that allows it.

    Returns whether there is a new namespace of users.

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
    """Leave the namespace of users for one that has this user and group alone, and others with it.

    Raises:
        NamespaceError: as `enter`.
    """
    user, group = os.geteuid(), os.getegid()
    own = _PROC / "self"
    try:
        syscalls.unshare(syscalls.NEW_USER | flags)
        # Who may drop groups could get around files that deny them: the kernel wants this first.
        (own / "setgroups").write_text("deny")
        (own / "gid_map").write_text(f"{group} {group} 1")
        (own / "uid_map").write_text(f"{user} {user} 1")
    except OSError as error:
        raise refusal(error) from None


def refusal(error: OSError, proc: Path = _PROC) -> NamespaceError:
    """Return what the kernel's refusal means here, in one sentence."""
    if error.errno == errno.EINVAL:
        seen = "this kernel has no such namespaces, or this process has threads"
        return NamespaceError(f"no private network: {seen}; start it alone, {_ELSEWHERE}")
    for row in RESTRICTIONS:
        if row.line in _lines(proc / row.file):
            return NamespaceError(f"no private network: {row.says}; {row.helps}, {_ELSEWHERE}")
    said = f"{error.filename or 'the kernel'} says {(error.strerror or str(error)).lower()}"
    helps = "run it as root" if os.geteuid() else "give it CAP_SYS_ADMIN"
    return NamespaceError(f"no private network: {said}; {helps}, {_ELSEWHERE}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def no_proxy_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which no proxy is asked for what is in a private network.

    None where no proxy is named.
    """
    if not any(environment.get(name) for name in _PROXIES):
        return {}
    return {name: ",".join(filter(None, (environment.get(name), _WITHIN))) for name in _PAST_THEM}


def why_unavailable() -> str:
    """Return why `enter` would fail here, in a sentence, or nothing; a child process tries it."""
    if sys.platform != "linux":
        return f"no private network: this is {sys.platform}, and only Linux has namespaces"
    hear, say = os.pipe()
    with warnings.catch_warnings():
        # The child calls nothing that a lock of another thread could stop.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _try(say)
    os.close(say)
    with os.fdopen(hear, "r", encoding="utf-8") as heard:
        text = heard.read()
    os.waitpid(child, 0)
    return text


def _try(say: int) -> None:
    """Enter a private network, say why not, and end this process."""
    said = "a mistake of ours"
    try:
        enter()
        said = ""
    except NamespaceError as error:
        said = str(error)
    finally:
        os.write(say, said.encode())
        os._exit(0)
