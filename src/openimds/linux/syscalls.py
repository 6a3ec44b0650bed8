"""System calls that Python 3.11 lacks; each raises OSError as `os` would."""

import ctypes
import os
import signal
import struct
from collections.abc import Iterable

from msgspec import Struct

# sched.h
NEW_MOUNTS = 0x00020000
NEW_USER = 0x10000000
NEW_PIDS = 0x20000000
NEW_NET = 0x40000000

# sys/mount.h
NO_SUID = 0x2
NO_DEV = 0x4
NO_EXEC = 0x8
BIND = 0x1000
RECURSIVE = 0x4000
SLAVE = 0x80000
_DETACH = 0x2

# linux/prctl.h
_SET_PDEATHSIG = 1
_SET_DUMPABLE = 4
_SET_CHILD_SUBREAPER = 36

_CAPABILITY_VERSION_3 = 0x20080522
_SIGINFO = struct.Struct("=IiiI112x")  # signo, errno, code, pid of struct signalfd_siginfo
_SI_KERNEL = 0x80
_LARGEST_SIGSET = 128


class ReceivedSignal(Struct, frozen=True):
    """A received signal; the kernel sends those of a terminal's keys."""

    number: int
    is_from_kernel: bool


def _call(name: str, *arguments: object) -> int:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    ctypes.set_errno(0)
    result: int = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def unshare(flags: int) -> None:
    """Move into new namespaces by flags; into one of process ids, children move."""
    _call("unshare", ctypes.c_int(flags))


def enter_network(namespace: int) -> None:
    """Move this thread into the network namespace of a descriptor."""
    _call("setns", ctypes.c_int(namespace), ctypes.c_int(NEW_NET))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system, or change a mount; empty texts are passed as null."""
    texts = [ctypes.c_char_p(os.fsencode(text) or None) for text in (source, kind, options)]
    _call(
        "mount",
        texts[0],
        ctypes.c_char_p(os.fsencode(target)),
        texts[1],
        ctypes.c_ulong(flags),
        texts[2],
    )


def unmount(target: str) -> None:
    """Detach a mount: hide it now, and release it after its last use (MNT_DETACH)."""
    _call("umount2", ctypes.c_char_p(os.fsencode(target)), ctypes.c_int(_DETACH))


def end_with_parent(number: int) -> None:
    """Have the kernel send a signal to this process when its parent ends."""
    _prctl(_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER)."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def dump_no_core() -> None:
    """Suppress the core file of this process."""
    _prctl(_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _call("prctl", ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)


def drop_capabilities() -> None:
    """Drop every capability of this process."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _call("capset", ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def signal_fd(numbers: Iterable[int]) -> int:
    """Block signals, and return a descriptor to read them from, closed on exec."""
    numbers = list(numbers)
    wanted = ctypes.create_string_buffer(_LARGEST_SIGSET)
    _call("sigemptyset", wanted)
    for number in numbers:
        _call("sigaddset", wanted, ctypes.c_int(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    return _call("signalfd", ctypes.c_int(-1), wanted, ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK))


def read_signals(descriptor: int) -> list[ReceivedSignal]:
    """Return the pending signals; several of one number may be merged."""
    try:
        data = os.read(descriptor, 32 * _SIGINFO.size)
    except BlockingIOError:
        return []
    return [
        ReceivedSignal(number, code == _SI_KERNEL)
        for number, _, code, _ in _SIGINFO.iter_unpack(data)
    ]


def restore_signals(mask: Iterable[int]) -> None:
    """Undo Python's signal dispositions, and block only the signals of a mask.

    Call it in a child before exec.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them.
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
