"""The end of stderr: systemd's journal, a terminal, or anything else.

systemd sets JOURNAL_STREAM to the device and the inode of the journal's socket (systemd.exec(5)).
stderr may be redirected since, so both are compared. Each line to the journal may begin with a
priority (sd-daemon(3)).
"""

import os
from collections.abc import Mapping

STDERR = 2


def leads_to_journal(environment: Mapping[str, str], descriptor: int = STDERR) -> bool:
    """Tell whether a descriptor leads to systemd's journal."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    if not (device.isdecimal() and inode.isdecimal()):
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (int(device), int(inode))


def is_terminal(descriptor: int = STDERR) -> bool:
    """Tell whether a descriptor leads to a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:  # It is closed.
        return False


def write_all(data: bytes, descriptor: int = STDERR) -> None:
    """Write all bytes to a descriptor, and wait for a reader if need be.

    Raises:
        OSError: nobody can read it any longer.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Another program has made the shared end of the pipe non-blocking.
            import select  # noqa: PLC0415 - rarely needed

            select.select([], [descriptor], [])
