"""Give this Python a wall clock that a test can set, at its start.

The clock is ahead of the machine's by the size of a file in seconds, less `_MIDDLE`. A size is read
without a descriptor, and a file can have one of any length without taking room.
"""

import os
import time
from pathlib import Path

FILE = Path(os.environ["CLOCK_OF_TEST"])
_MIDDLE = 1_000_000
_machine = time.time


def _set() -> float:
    return _machine() + FILE.stat().st_size - _MIDDLE


time.time = _set
