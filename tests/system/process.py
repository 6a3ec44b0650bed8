"""The real process, started and ended."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "openimds"]


class Serving:
    """A server that said it is ready."""

    def __init__(self, process: "subprocess.Popen[str]", ready: dict[str, Any]) -> None:
        self.process, self.ready = process, ready
        self.url: str = ready["imds"]

    def stop(self) -> tuple[int, str]:
        """End it as an init system would; return its exit code and what it said on stderr."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


@contextmanager
def serving(*arguments: str, cwd: Path, **environment: str) -> Iterator[Serving]:
    """Start `openimds serve` on a free port and wait for its ready line."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
        env=clean_environment({"XDG_STATE_HOME": str(cwd / "state"), **environment}),
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate(timeout=30)[1]
        yield Serving(process, json.loads(line))
    finally:
        process.kill()
        process.communicate(timeout=30)


def run(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
        timeout=60,
        check=False,
        env=clean_environment({"XDG_STATE_HOME": str(cwd / "state"), **environment}),
    )


def clean_environment(more: dict[str, str]) -> dict[str, str]:
    """Return an environment without any setting of ours but these."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **more}
