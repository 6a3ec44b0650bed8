"""The process in the private network: it starts the server, then clients.

It is a program of its own. Each line of stdin is a JSON object with an action; each is answered by
one on stdout. When stdin ends, the process and its children end.
"""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

OPENIMDS = [sys.executable, "-m", "openimds"]
_SAMPLE = re.compile(r"^openimds_(\w+)_total(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_OF_OTHERS = ("admin_", "log_", "other_vms_", "port_", "process_", "vm_")
"""The beginnings of counters that our own looks move, or that count the same by VM."""

# Without the machine's proxy.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class NetnsChild:
    """The server, and actions around it."""

    def __init__(self, arguments: list[str]) -> None:
        with Path("server.err").open("wb") as err:
            self.process = subprocess.Popen(
                [*OPENIMDS, "serve", *arguments],
                stdout=subprocess.PIPE,
                stderr=err,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.ready: dict[str, Any] = json.loads(line) if line else {}

    def run(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run a client, and return the changes of the server's counters with its output."""
        before = self.counters()
        ran = subprocess.run(
            arguments["command"],
            input=json.dumps(arguments["cases"]),
            env=arguments["env"],
            capture_output=True,
            text=True,
            timeout=arguments["timeout_s"],
            check=False,
        )
        after = self.counters()
        moved = {name: count - before.get(name, 0) for name, count in after.items()}
        return {
            "code": ran.returncode,
            "out": ran.stdout,
            "err": ran.stderr,
            "moved": {name: count for name, count in moved.items() if count},
        }

    def put(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Replace a VM by the admin API."""
        token = Path(self.ready["token_file"]).read_text().strip()
        request = urllib.request.Request(
            f"{self.ready['admin']}/v1/vms/{arguments['name']}",
            json.dumps(arguments["vm"]).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method="PUT",
        )
        with _open(request, timeout=30) as got:
            return {"status": got.status}

    def counters(self) -> dict[str, int]:
        """Return the counters of guests' requests, such as `requests token 200`."""
        with _open(f"{self.ready['admin']}/metrics", timeout=30) as got:
            text = got.read().decode()
        counters = {}
        for name, labels, value in _SAMPLE.findall(text):
            if name.startswith(_OF_OTHERS):
                continue
            words = [name, *re.findall(r'="([^"]*)"', labels)]
            counters[" ".join(words)] = int(float(value))
        return counters

    def stop(self, _: dict[str, Any]) -> dict[str, Any]:
        """End the server as an init system would."""
        self.process.terminate()
        return {"code": self.process.wait(30), "err": Path("server.err").read_text()}


def main() -> None:
    child = NetnsChild(sys.argv[1:])
    print(json.dumps(child.ready), flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            reply = getattr(child, arguments["do"])(arguments)
        except Exception as error:  # noqa: BLE001 - the test gets it
            reply = {"failed": repr(error)}
        print(json.dumps(reply), flush=True)  # noqa: T201 - the protocol
    child.process.kill()


if __name__ == "__main__":
    main()
