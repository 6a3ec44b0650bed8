"""A file in memory, with a path in /proc or in a folder in memory."""

import os
from pathlib import Path


class MemoryFile:
    """A file in memory; its path in /proc lives as long as its descriptor.

    Child processes forked afterwards have the descriptor, too, and see what is written to it. They
    cannot open the path in /proc of a process with capabilities that they lack; in a folder of a
    tmpfs they can.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        """Make an empty file for this user alone; without a folder, /proc shows its name."""
        if folder:
            self.path = str(folder / name)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self.descriptor = os.open(self.path, flags, 0o600)
        else:
            self.descriptor = os.memfd_create(name)
            os.fchmod(self.descriptor, 0o600)
            self.path = f"/proc/self/fd/{self.descriptor}"
            """The path by which this process opens it."""

    def write(self, content: bytes) -> None:
        """Replace the content."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, content, 0)

    def close(self) -> None:
        """Close the descriptor of this process."""
        os.close(self.descriptor)
