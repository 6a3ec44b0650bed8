"""Gets tokens by azure-identity: cases as JSON on stdin, their results on stdout."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.identity import aio as asynchronous
from azure.identity._credentials.imds import ImdsCredential

# The SDK waits between tries; here each refusal is final.
ONCE: dict[str, Any] = {"retry_total": 0, "retry_status": 0}


def probing(**more: Any) -> ImdsCredential:
    """Return the credential as a chain makes it, which probes for IMDS."""
    return ImdsCredential(_enable_imds_probe=True, **more)


KINDS: dict[str, Callable[..., Any]] = {
    "default": DefaultAzureCredential,
    "managed": ManagedIdentityCredential,
    "imds": probing,
}


def ask(case: dict[str, Any]) -> Any:
    """Return the token for a case."""
    scope = f"{case['resource']}/.default"
    if case["kind"] == "aio":
        return asyncio.run(ask_asynchronously(scope, case["identity"]))
    with KINDS[case["kind"]](**case["identity"], **ONCE) as credential:
        return credential.get_token_info(scope)


async def ask_asynchronously(scope: str, identity: dict[str, Any]) -> Any:
    """Return the token by the asynchronous credential, over the installed transport."""
    async with asynchronous.ManagedIdentityCredential(
        **identity, **ONCE, transport=AsyncioRequestsTransport()
    ) as credential:
        return await credential.get_token_info(scope)


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a case."""
    try:
        got = ask(case)
    except ClientAuthenticationError as error:
        return {"error": type(error).__name__, "message": error.message}
    return {"token": got.token, "expires_s": got.expires_on}


if __name__ == "__main__":
    print(json.dumps([outcome(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the results
