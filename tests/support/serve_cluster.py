"""A replayed cluster as a process: `python -m tests.support.serve_cluster FOLDER`.

It prints the URL of its API, and takes lines of JSON on stdin: the name of a method of
`ReplayedCluster` and its arguments. It ends with its stdin.
"""

import json
import sys
from pathlib import Path

from tests.support.replayed_api import ReplayedApi
from tests.support.replayed_cluster import ReplayedCluster


def main() -> None:
    cluster = ReplayedCluster()
    with ReplayedApi(Path(sys.argv[1]), cluster.answer).running() as api:
        print(api.url, flush=True)  # noqa: T201 - its answer
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            if name == "break_watches":
                arguments = [text.encode() for text in arguments]
            getattr(cluster, name)(*arguments)
            print("done", flush=True)  # noqa: T201 - its answer
        cluster.close()


if __name__ == "__main__":
    main()
