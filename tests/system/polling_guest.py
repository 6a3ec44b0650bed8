"""A program in a guest: it asks the metadata service all the time.

Each request has a connection of its own. The argument is a file: for each request it gets a line of
JSON with the number of the path, the times of begin and end, and the body, or null where there was
no answer. The program ends with its stdin.
"""

import json
import select
import socket
import sys
import time
from pathlib import Path

IMDS = "169.254.169.254"
PATHS = (
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
    "/metadata/scheduledevents?api-version=2020-07-01",
    "/metadata/attested/document?api-version=2020-09-01",
)
PATIENCE_S = 0.1
"""The kernel would send the first packet of a connection again after a second."""
_PAUSE_S = 0.015
"""The host rules let a VM open 100 connections a second."""


def ask(path: str) -> str | None:
    """Return the body of an answer, or the first line of a refusal, or None."""
    lines = (f"GET {path} HTTP/1.1", f"Host: {IMDS}", "Metadata: true", "Connection: close", "", "")
    data = b""
    try:
        with socket.create_connection((IMDS, 80), PATIENCE_S) as peer:
            peer.sendall("\r\n".join(lines).encode())
            while part := peer.recv(65536):
                data += part
    except OSError:
        return None
    head, _, body = data.decode().partition("\r\n\r\n")
    first = head.partition("\r\n")[0]
    return body if first == "HTTP/1.1 200 OK" else first


def main() -> None:
    number = 0
    with Path(sys.argv[1]).open("w", buffering=1) as out:
        while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
            number = (number + 1) % len(PATHS)
            began_s = time.monotonic()
            body = ask(PATHS[number])
            row = {"path": number, "began_s": began_s, "ended_s": time.monotonic(), "body": body}
            out.write(f"{json.dumps(row)}\n")


if __name__ == "__main__":
    main()
