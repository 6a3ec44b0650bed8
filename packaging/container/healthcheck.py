"""The health check of the image: ask the running server whether it is ready.

The check finds the server's addresses where the server found them: on the command line of the
container's first process, else in the environment. It asks the admin API, so that no guest's
counters move; without one it connects to the data plane.
"""

import os
import socket
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

SERVER = Path("/proc/1/cmdline")
_DEFAULTS = {"listen": "0.0.0.0:8169", "admin": "127.0.0.1:8170", "admin-cert": ""}
_TIMEOUT_S = 2
_OK = 200


def setting(name: str, arguments: list[str]) -> str:
    """Return a setting of the server from its command line, the environment, or the default."""
    flag = f"--{name}"
    for index, argument in enumerate(arguments):
        if argument == flag:
            return "".join(arguments[index + 1 : index + 2])
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return os.environ.get(f"OPENIMDS_{name.upper().replace('-', '_')}") or _DEFAULTS[name]


def address(text: str) -> tuple[str, int]:
    """Return host and port of a listener; loopback stands for "every address"."""
    host, _, port = (
        text.removeprefix("https://").removeprefix("http://").rstrip("/").rpartition(":")
    )
    host = host.strip("[]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)  # noqa: S104 - as above


def problem(arguments: list[str]) -> str:
    """Return the reason why the server is not ready, or an empty text."""
    admin = setting("admin", arguments)
    try:
        if admin == "none":
            text = setting("listen", arguments).partition(",")[0]
            if text.startswith("unix:"):
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.settimeout(_TIMEOUT_S)
                    probe.connect(text.removeprefix("unix:"))
            else:
                socket.create_connection(address(text), _TIMEOUT_S).close()
            return ""
        host, port = address(admin)
        connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
        if setting("admin-cert", arguments):
            # The name of this container's own loopback is in no certificate.
            context = ssl._create_unverified_context()  # noqa: S323, SLF001 - as above
            connection = HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, ValueError, HTTPException) as error:
        return str(error)
    return "" if status == _OK else f"/readyz: status {status}"


def main() -> None:
    """Exit 0 if the server is ready, else 1 with the reason."""
    arguments = SERVER.read_bytes().decode().split("\0")
    if reason := problem(arguments):
        sys.exit(f"not ready: {reason}")


if __name__ == "__main__":
    main()
