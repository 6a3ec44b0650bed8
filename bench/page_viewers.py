"""People who watch live pages: `python -m bench.page_viewers URL TOKEN_FILE COUNT SECONDS PATH...`.

Each has a session and a page that refreshes its live part each so many seconds; they begin evenly
spread. `sent` are the refreshes, `answered` those with a changed part.
"""

import sys
import time
from pathlib import Path

from bench.loads import Counts, ready, report, start_late
from bench.page_client import PageReader


def main(url: str, token_file: str, count: str, seconds: str, *paths: str) -> None:
    """Refresh until the standard input ends."""
    start_late()
    readers = [PageReader(url, Path(token_file)) for _ in range(int(count))]
    pause_s = float(seconds) / len(readers)
    counts, start_s, number = Counts(), time.perf_counter(), 0
    wanted = ready()
    while wanted.is_alive():
        path = paths[number % len(readers) % len(paths)]
        counts.answered += bool(readers[number % len(readers)].refresh(path))
        counts.sent += 1
        number += 1
        counts.seconds = time.perf_counter() - start_s
        time.sleep(max(0.0, start_s + number * pause_s - time.perf_counter()))
    wanted.join()
    report(counts)


if __name__ == "__main__":
    main(*sys.argv[1:])
