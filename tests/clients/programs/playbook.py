"""Runs clients during a playbook: cases as JSON on stdin, their results on stdout.

Their waits pass on the virtual clock: `time.sleep` advances it and returns, so that retries reach
the server at the times of their own source, without a real wait. The clients are unmodified
otherwise.
"""

import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
SCOPE = "https://vault.azure.net"
waits: list[float] = []


def call_admin(path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """Return the response of the admin API, None if it is empty."""
    token = Path(os.environ["OPENIMDS_TOKEN_FILE"]).read_text().strip()
    data = None if body is None else json.dumps(body).encode()
    head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = os.environ["OPENIMDS_ADMIN"] + path
    request = urllib.request.Request(url, data, head, method=method)
    with _open(request, timeout=30) as got:
        return json.loads(got.read() or b"null")


def sleep(seconds: Any) -> None:
    """Advance the virtual clock of guests and faults."""
    waits.append(round(seconds, 3))
    call_admin("/v1/clock", {"advance_s": seconds})


def azure_identity(_case: dict[str, Any]) -> dict[str, Any]:
    """Get a token by azure-identity, with its default retries."""
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ManagedIdentityCredential

    try:
        with ManagedIdentityCredential() as credential:
            token = credential.get_token_info(f"{SCOPE}/.default")
            is_late = token.expires_on <= time.time()
            return {"token": bool(token.token), **({"expired": True} if is_late else {})}
    except ClientAuthenticationError as error:
        return {"error": type(error).__name__, "message": error.message}


def azure_chain(_case: dict[str, Any]) -> dict[str, Any]:
    """Get a token by a chain of azure-identity, which looks for IMDS first."""
    from azure.identity import ChainedTokenCredential, ManagedIdentityCredential

    with ChainedTokenCredential(ManagedIdentityCredential()) as chain:
        return {"token": bool(chain.get_token_info(f"{SCOPE}/.default").token)}


def msal(case: dict[str, Any]) -> dict[str, Any]:
    """Get a token by msal, with a new client or with the previous one."""
    import msal as library  # type: ignore[import-untyped]
    import requests

    if not case.get("again"):
        session = requests.Session()
        session.trust_env = False
        msal.client = library.ManagedIdentityClient(  # type: ignore[attr-defined]
            library.SystemAssignedManagedIdentity(), http_client=session
        )
    try:
        got = msal.client.acquire_token_for_client(  # type: ignore[attr-defined]
            resource=SCOPE
        )
    except (requests.ConnectionError, json.JSONDecodeError) as error:
        return {"error": type(error).__name__}
    return {"token": True} if "access_token" in got else got


def cloud_init(_case: dict[str, Any]) -> dict[str, Any]:
    """Let cloud-init read the document as it does early in the boot."""
    from cloudinit.helpers import Paths
    from cloudinit.sources import DataSourceAzure as Azure

    source = Azure.DataSourceAzure({}, None, Paths({"cloud_dir": "cloud", "run_dir": "run"}))
    read = source.get_imds_data_with_api_fallback(retries=10)
    return {"name": read["compute"]["name"], "extended": "extended" in read} if read else {}


CLIENTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "azure-identity": azure_identity,
    "azure-chain": azure_chain,
    "msal": msal,
    "cloud-init": cloud_init,
}


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case, and its waits."""
    waits.clear()
    if seconds := case.get("after_s"):
        call_admin("/v1/clock", {"advance_s": seconds})
    if "fault" in case:
        return under_fault(case)
    return {**CLIENTS[case["client"]](case), "waits": [*waits]}


def under_fault(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result under a fault, any error by its name, and the requests."""
    os.environ.update(case.get("env", {}))
    # A date of Retry-After is compared with the client's own clock.
    call_admin("/v1/clock", {"now": datetime.now(UTC).isoformat()})
    call_admin("/v1/faults", case["fault"])
    try:
        result = CLIENTS[case["client"]](case)
    except Exception as error:  # noqa: BLE001 - every error of a client is its result
        result = {"error": type(error).__name__}
    (fault,) = call_admin("/v1/faults")["items"]
    call_admin("/v1/faults", method="DELETE")
    return {**result, "waits": [*waits], "requests": fault["seen"]}


if __name__ == "__main__":
    time.sleep = sleep
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
