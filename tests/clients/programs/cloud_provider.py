"""Detects the cloud by cloud-detect; prints its name."""

import json

from cloud_detect import provider

if __name__ == "__main__":
    print(json.dumps([{"provider": provider()}]))  # noqa: T201 - the result
