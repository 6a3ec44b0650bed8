"""Gets tokens by msal: cases as JSON on stdin, their results on stdout."""

import json
import sys
import time
from typing import Any

import msal  # type: ignore[import-untyped]
import requests


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case."""
    identity = (
        msal.UserAssignedManagedIdentity(**case["identity"])
        if case["identity"]
        else msal.SystemAssignedManagedIdentity()
    )
    with requests.Session() as session:
        session.trust_env = False
        client = msal.ManagedIdentityClient(identity, http_client=session)
        got = client.acquire_token_for_client(resource=case["resource"])
        if "access_token" not in got:
            return {"error": got["error"], "message": got["error_description"]}
        again = client.acquire_token_for_client(resource=case["resource"])
    return {
        "token": got["access_token"],
        "expires_s": int(time.time()) + got["expires_in"],
        "source": got["token_source"],
        "again": again["token_source"] if again["access_token"] == got["access_token"] else "",
    }


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
