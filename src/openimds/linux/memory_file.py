"""A file in memory, with a path in /proc."""

import os


class MemoryFile:
    """A file in memory; its path in /proc lives as long as its descriptor.

    Child processes forked afterwards have the descriptor, too, and see what is written to it.
    """

    def __init__(self, name: str) -> None:
        """Make an empty file for this user alone; /proc shows its name."""
        self.descriptor = os.memfd_create(name)
        os.fchmod(self.descriptor, 0o600)

    @property
    def path(self) -> str:
        """The path by which this process opens it."""
        return f"/proc/self/fd/{self.descriptor}"

    def write(self, content: bytes) -> None:
        """Replace the content."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, content, 0)

    def close(self) -> None:
        """Close the descriptor of this process."""
        os.close(self.descriptor)
