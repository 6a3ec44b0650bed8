"""System calls that Python 3.11 has no name for; each raises OSError as `os` would."""

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
    """A signal that came: its number, and whether the kernel made it, as a terminal's key does."""

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
    """Leave the namespaces that the flags name for new ones; of process ids, children do."""
    _call("unshare", ctypes.c_int(flags))


def enter_network(namespace: int) -> None:
    """Move this thread into the network namespace that a descriptor names."""
    _call("setns", ctypes.c_int(namespace), ctypes.c_int(NEW_NET))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Put a file system somewhere, or change how one is there; what is empty is not said."""
    said = [ctypes.c_char_p(os.fsencode(text) or None) for text in (source, kind, options)]
    _call(
        "mount",
        said[0],
        ctypes.c_char_p(os.fsencode(target)),
        said[1],
        ctypes.c_ulong(flags),
        said[2],
    )


def unmount(target: str) -> None:
    """Take a mount away, now for new eyes and for good when nobody uses it any more."""
    _call("umount2", ctypes.c_char_p(os.fsencode(target)), ctypes.c_int(_DETACH))


def end_with_parent(number: int) -> None:
    """Have this process get a signal when the one that forked it ends."""
    _prctl(_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own has ended."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def dump_no_core() -> None:
    """Leave no core file, whatever this process dies of."""
    _prctl(_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _call("prctl", ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)


def drop_capabilities() -> None:
    """Give up every capability of this process."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _call("capset", ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def signal_fd(numbers: Iterable[int]) -> int:
    """Block signals and return a descriptor, closed on exec, from which they are read instead."""
    numbers = list(numbers)
    wanted = ctypes.create_string_buffer(_LARGEST_SIGSET)
    _call("sigemptyset", wanted)
    for number in numbers:
        _call("sigaddset", wanted, ctypes.c_int(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    return _call("signalfd", ctypes.c_int(-1), wanted, ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK))


def read_signals(descriptor: int) -> list[ReceivedSignal]:
    """Return the signals that have come; several of one number may be one."""
    try:
        data = os.read(descriptor, 32 * _SIGINFO.size)
    except BlockingIOError:
        return []
    return [
        ReceivedSignal(number, code == _SI_KERNEL)
        for number, _, code, _ in _SIGINFO.iter_unpack(data)
    ]


def give_signals_back(mask: Iterable[int]) -> None:
    """Make signals what they are to a program that is not Python, and block only those of a mask.

    For a child that is about to become another program.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them.
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
