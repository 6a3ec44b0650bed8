"""The private engine, driven by its command line as a reader would drive it."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from msgspec import Struct

from openimds import __version__
from tests.clients.kits import ROOT

IMAGE = "localhost/openimds"
NAME_URL = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
IS_PRIVATE = os.environ.get("OPENIMDS_PRIVATE_ENGINE") == "inside"
OWN = "arm64" if os.uname().machine == "aarch64" else "amd64"
OTHER = "amd64" if OWN == "arm64" else "arm64"
"""The architecture whose image is made by unpacking alone."""
_numbers = count()
_LONGEST_S = 60


def archive(kind: str, architecture: str = OWN) -> Path:
    """Return the archive of the image, or its bill of materials."""
    place = ROOT / "dist" if architecture == OWN else ROOT / "dist" / architecture
    (path,) = place.glob(f"openimds-{__version__}-linux-{architecture}.{kind}")
    return path


class EngineError(Exception):
    """The engine refuses a command; its message has the engine's own."""


class Outcome(Struct, frozen=True):
    """Exit code and both outputs of a command."""

    code: int
    out: str
    err: str


def attempt(*arguments: str) -> Outcome:
    """Run podman and return its outcome, good or bad."""
    ran = subprocess.run(
        ["podman", *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    # Podman runs health checks by timers of systemd, which is not here.
    noise = ("systemd connection", "Removing timer")
    lines = [line for line in ran.stderr.splitlines() if not any(word in line for word in noise)]
    return Outcome(ran.returncode, ran.stdout.strip(), "\n".join(lines))


def podman(*arguments: str) -> str:
    """Run podman and return its output.

    Raises:
        EngineError: it fails.
    """
    outcome = attempt(*arguments)
    if outcome.code:
        raise EngineError(f"podman {' '.join(arguments)}: {outcome.err}")
    return outcome.out


def inspect(name: str) -> dict[str, Any]:
    """Return everything that the engine knows about a container or an image."""
    (row,) = json.loads(podman("inspect", name))
    return dict(row)


class Container(Struct, frozen=True):
    """A running container of the image."""

    name: str

    def run(self, *command: str) -> str:
        """Run a command inside and return its output."""
        return podman("exec", self.name, *command)

    def logs(self) -> str:
        """Return both outputs of the server."""
        outcome = attempt("logs", self.name)
        return f"{outcome.err}\n{outcome.out}".strip()

    def published(self, port: int = 8169) -> str:
        """Return the URL of a published port."""
        return f"http://{podman('port', self.name, f'{port}/tcp')}"

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit code and the seconds that the end took."""
        pid = inspect(self.name)["State"]["Pid"]
        begun = time.monotonic()
        podman("kill", "--signal=TERM", self.name)
        code = int(podman("wait", "--interval=10ms", self.name))
        assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110 - as short
        return code, time.monotonic() - begun


@contextmanager
def running(*options: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Start the image with these options and wait for its ready line."""
    name = f"openimds-{next(_numbers)}"
    podman("run", "--detach", f"--name={name}", *options, IMAGE, *command)
    try:
        container = Container(name)
        wait_until_ready(container)
        yield container
    finally:
        attempt("rm", "--force", "--time=0", name)


def wait_until_ready(container: Container) -> dict[str, Any]:
    """Return the ready line of a container.

    Raises:
        EngineError: it ends before it is ready.
    """
    followed = subprocess.Popen(
        ["podman", "logs", "--follow", container.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert followed.stdout
        lines = []
        for line in followed.stdout:
            if line.startswith('{"ready"'):
                return dict(json.loads(line))
            lines.append(line)
    finally:
        followed.kill()
        followed.communicate()
    raise EngineError(f"{container.name} ended: {''.join(lines)}")


def get(url: str, **headers: str) -> tuple[int, str]:
    """Return status and body of a GET with the header of IMDS."""
    request = urllib.request.Request(url, headers={"Metadata": "true", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
