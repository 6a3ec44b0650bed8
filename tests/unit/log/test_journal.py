"""The other end of stderr, as systemd names it."""

import os
from pathlib import Path

from openimds.log.journal import is_terminal, leads_to_journal


def test_stream_of_the_journal_is_known_by_device_and_inode(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with path.open("wb") as file:
        status = os.fstat(file.fileno())
        stream = f"{status.st_dev}:{status.st_ino}"
        assert leads_to_journal({"JOURNAL_STREAM": stream}, file.fileno())
        other = f"{status.st_dev}:{status.st_ino + 1}"
        assert not leads_to_journal({"JOURNAL_STREAM": other}, file.fileno())
        assert not leads_to_journal({"JOURNAL_STREAM": "x"}, file.fileno())
        assert not leads_to_journal({}, file.fileno())
        assert not is_terminal(file.fileno())


def test_closed_descriptor_leads_nowhere() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    assert not leads_to_journal({"JOURNAL_STREAM": "1:2"}, writing)
    assert not is_terminal(writing)
