"""Files in memory: their contents, their mode, and their path."""

import os
import stat
from pathlib import Path

import pytest

from openimds.linux.memory_file import MemoryFile


@pytest.mark.parametrize("is_in_folder", [False, True])
def test_last_content_is_read_by_its_path(tmp_path: Path, is_in_folder: bool) -> None:
    file = MemoryFile("roots", tmp_path if is_in_folder else None)
    try:
        file.write(b"a longer content")
        file.write(b"short")
        path = Path(file.path)
        assert path.read_bytes() == b"short"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        expected = tmp_path / "roots" if is_in_folder else Path("/proc/self/fd", path.name)
        assert path == expected
        assert not os.get_inheritable(file.descriptor)
    finally:
        file.close()
