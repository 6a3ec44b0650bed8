"""The part of the rig that lives in the private network: it starts the server, then clients.

It is a program of its own, run in a network namespace. It takes one JSON object in a line of stdin
for each thing to do and answers with one on stdout; when stdin ends, everything ends.
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

# Whatever proxy the machine has, it has nothing to do with what is asked here.
_ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Inside:
    """The server, and what can be done around it."""

    def __init__(self, arguments: list[str]) -> None:
        with Path("server.err").open("wb") as said:
            self.process = subprocess.Popen(
                [*OPENIMDS, "serve", *arguments],
                stdout=subprocess.PIPE,
                stderr=said,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        self.ready: dict[str, Any] = json.loads(line) if line else {}

    def run(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Run a client, and say how the counters of the server moved while it ran."""
        before = self.counters()
        ran = subprocess.run(
            wish["command"],
            input=json.dumps(wish["cases"]),
            env=wish["env"],
            capture_output=True,
            text=True,
            timeout=wish["timeout_s"],
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

    def put(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Replace a VM by the admin API."""
        token = Path(self.ready["token_file"]).read_text().strip()
        request = urllib.request.Request(
            f"{self.ready['admin']}/v1/vms/{wish['name']}",
            json.dumps(wish["vm"]).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method="PUT",
        )
        with _ask(request, timeout=30) as got:
            return {"status": got.status}

    def counters(self) -> dict[str, int]:
        """Return every counter that is shown, such as `requests token 200`."""
        with _ask(f"{self.ready['admin']}/metrics", timeout=30) as got:
            text = got.read().decode()
        found = {}
        for name, labels, value in _SAMPLE.findall(text):
            words = [name, *re.findall(r'="([^"]*)"', labels)]
            found[" ".join(words)] = int(float(value))
        return found

    def stop(self, _: dict[str, Any]) -> dict[str, Any]:
        """End the server as an init system would."""
        self.process.terminate()
        return {"code": self.process.wait(30), "err": Path("server.err").read_text()}


def main() -> None:
    inside = Inside(sys.argv[1:])
    print(json.dumps(inside.ready), flush=True)  # noqa: T201 - the protocol
    for line in sys.stdin:
        wish = json.loads(line)
        try:
            answer = getattr(inside, wish["do"])(wish)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            answer = {"failed": repr(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201 - the protocol
    inside.process.kill()


if __name__ == "__main__":
    main()
