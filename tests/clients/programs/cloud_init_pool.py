"""Polls for the data of a VM that leaves its pool, by cloud-init's source.

Its pauses are the program's: at the one that a case names, the VM gets its data. The network of a
pool is left out, with the report to the host that comes before.
"""

import json
import subprocess
import sys
from typing import Any
from unittest.mock import patch

from cloudinit import url_helper
from cloudinit.helpers import Paths
from cloudinit.sources import DataSourceAzure as Azure


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the data, and the number of pauses before it came."""
    source = Azure.DataSourceAzure({}, None, Paths({"cloud_dir": "cloud", "run_dir": "run"}))
    source._is_ephemeral_networking_up = lambda: True
    source._teardown_ephemeral_networking = lambda: None
    source._reported_ready_marker_file = __file__  # It was reported before.
    pauses = 0

    def wait(_: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == case["pauses"]:
            change = json.dumps({"reprovisionData": case["data"]})
            command = [case["python"], "-m", "openimds", "vm", "patch", case["vm"], "-"]
            subprocess.run(
                command, input=change, text=True, check=True, capture_output=True, env=case["env"]
            )

    with patch.object(url_helper.time, "sleep", wait):
        data = source._poll_imds()
    return {"data": data.decode(), "pauses": pauses}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
