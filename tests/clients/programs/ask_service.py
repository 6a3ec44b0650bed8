"""Start a verifying service, send it documents of VMs, and end it.

The first case has its command. Each other case has a `body`, or gets the document of a VM (`imds`)
with a nonce, and asks about it with the nonce and the vmId that the service expects.
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlencode

DOCUMENT = "/metadata/attested/document?api-version=2021-02-01&nonce="
SERVICE = "http://127.0.0.1:8180/verify?"
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def document_of(case: dict[str, str]) -> bytes:
    if "body" in case:
        return case["body"].encode()
    url = f"{case['imds']}{DOCUMENT}{case['nonce']}"
    with _open(urllib.request.Request(url, headers={"Metadata": "true"}), timeout=30) as got:
        body: bytes = got.read()
    return body


def outcome(case: dict[str, str]) -> dict[str, object]:
    document = document_of(case)
    expected = urlencode({"nonce": case["expected_nonce"], "vmId": case["expected_vm"]})
    try:
        with _open(SERVICE + expected, document, timeout=30) as got:
            return {"status": got.status, "payload": json.load(got)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "reason": error.read().decode()}


def main() -> None:
    first, *cases = json.load(sys.stdin)
    service = subprocess.Popen(first["command"], stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout
        assert service.stdout.readline() == "ready\n"
        print(json.dumps([outcome(case) for case in cases]))  # noqa: T201 - the results
    finally:
        service.kill()
        service.wait(30)


main()
