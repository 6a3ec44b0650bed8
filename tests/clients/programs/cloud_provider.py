"""Lets cloud-detect find out which cloud this is; its word for it on stdout."""

import json

from cloud_detect import provider

if __name__ == "__main__":
    print(json.dumps([{"provider": provider()}]))  # noqa: T201 - its answer
