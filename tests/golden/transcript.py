"""The golden cases as a transcript of a faithful server.

The headers are those of the recordings in `imds-wire.md`, section I, in their order. Cases whose
whole answer is not known are left out.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATE = "Sat, 07 Feb 2026 11:04:46 GMT"
REQUEST_ID = "b41646f2-40fc-44bf-ac9a-8a3b5c23a41b"
PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


def transcript() -> dict[str, Any]:
    """The value of a file as `openimds capture` writes it."""
    cases = json.loads((HERE / "cases.json").read_bytes())
    return {
        "format": 1,
        "madeBy": "the golden cases",
        "url": "http://169.254.169.254",
        "beganAt": "2026-02-07T11:04:46Z",
        "isRedacted": False,
        "leftOut": [],
        "exchanges": [exchange(case) for case in cases if is_known(case)],
    }


def is_known(case: dict[str, Any]) -> bool:
    """Whether the whole reply is known; identity is left out, because its headers differ."""
    has_body = case["body"] is not None or "body_of" in case
    has_head = bool(case["content_type"]) and None not in case.get("has_headers", {}).values()
    return has_body and has_head and "/identity" not in case["target"]


def exchange(case: dict[str, Any]) -> dict[str, Any]:
    """One case; its answer has the headers of the recording of 2026-02-07, or the front's."""
    body = (HERE / case["body_of"]).read_text("utf-8") if "body_of" in case else case["body"]
    known = case.get("has_headers", {})
    length = f"Content-Length: {known.get('Content-Length', str(len(body.encode())))}"
    media, date = f"Content-Type: {case['content_type']}", f"Date: {DATE}"
    server = f"Server: {known.get('Server', 'IMDS/150.870.65.1854')}"
    headers = [media, server, f"x-ms-request-id: {REQUEST_ID}", date, length]
    if "Microsoft-IIS" in server:  # The front, in the order of its answer to HEAD.
        headers = [length, media, server, date]
    return {
        "question": case["name"],
        "version": "",
        "request": {
            "method": case["method"],
            "target": case["target"],
            "headers": [*case["headers"].items()],
        },
        "answer": {
            "line": f"HTTP/1.1 {case['status']} {PHRASES[case['status']]}",
            "headers": headers,
            "body": body,
        },
    }
