"""Reads the VM by cloud-init's data source for Azure, once for each case on stdin.

The output is the configuration that cloud-init would apply, and `{}` where it gives up.
"""

import json
import sys
from base64 import b64decode
from typing import Any

from cloudinit.helpers import Paths
from cloudinit.sources import DataSourceAzure as Azure


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case, which has the number of retries."""
    source = Azure.DataSourceAzure({}, None, Paths({"cloud_dir": "cloud", "run_dir": "run"}))
    read = source.get_imds_data_with_api_fallback(retries=case["retries"])
    if not read:
        return {}
    source.metadata, source._metadata_imds = {"imds": read}, read
    return {
        "imds": read,
        "network": source.network_config,
        "keys": source.get_public_ssh_keys(),
        "region": source.region,
        "fault_domain": source.availability_zone,
        "host_name": Azure._hostname_from_imds(read),
        "user": Azure._username_from_imds(read),
        "no_password": Azure._disable_password_from_imds(read),
        "user_data": b64decode(Azure._userdata_from_imds(read)).decode(),
    }


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
