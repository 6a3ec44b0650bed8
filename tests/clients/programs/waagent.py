"""Runs the IMDS client of WALinuxAgent, once for each case on stdin."""

import json
import sys
from typing import Any

from azurelinuxagent.common.protocol.imds import ImdsClient

NOWHERE = "127.0.0.1:9"
"""Its fallback address, if IMDS cannot be reached."""


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case, which names the method."""
    client = ImdsClient(NOWHERE)
    if case["method"] == "validate":
        is_healthy, reason = client.validate()
        return {"is_healthy": is_healthy, "reason": reason}
    compute = client.get_compute()
    return {**vars(compute), "image": compute.image_info, "origin": compute.image_origin}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
