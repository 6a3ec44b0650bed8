"""Runs a resource agent of Pacemaker on a node, once for each case on stdin.

The agent is unmodified. A case names its node and the source address of that node; `AGENTS` is the
folder of the package, `LOG` the log file of the agent.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

OCF = Path(os.environ["AGENTS"]) / "usr/lib/ocf"
LOG = Path(os.environ["LOG"])
AS_NODE = ["unshare", "--uts", "sh", "-ec", 'hostname "$0"; exec "$@"']
"""The agent takes the name of its node from the host."""


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case."""
    # The address of IMDS is one of this host, and would be the source without this route.
    route = f"ip route replace local 169.254.169.254 dev lo table local src {case['address']}"
    subprocess.run(route.split(), check=True)
    LOG.write_text("")
    agent = str(OCF / "resource.d/heartbeat" / case["agent"])
    ran = subprocess.run(
        [*AS_NODE, case["node"], sys.executable, agent, "monitor"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "OCF_ROOT": str(OCF),
            "OCF_RESKEY_verbose": "true",
            "HA_LOGFILE": str(LOG),
            "HA_debug": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return {"code": ran.returncode, "stderr": ran.stderr, "log": LOG.read_text()}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
