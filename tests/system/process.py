"""The real process: `openimds serve`, and commands that end by themselves."""

import json
import os
import random
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.log_lines import sentence, sentences

_TIMEOUT_S = 60
COMMAND = [sys.executable, "-m", "openimds"]
_PORTS = range(20000, 32768)
"""Ports below those that Linux gives to clients and to listeners at port 0."""
_CHOICE = random.SystemRandom()
"""Each test begins with the same seed, in all workers: by it they would choose the same ports."""


class Server:
    """A running `openimds serve` that has printed its ready line."""

    def __init__(self, process: "subprocess.Popen[str]", ready: dict[str, Any]) -> None:
        self.process, self.ready = process, ready
        self.url: str = ready["imds"]

    @property
    def variables(self) -> dict[str, str]:
        """The environment by which commands find this server."""
        return {
            "OPENIMDS_ADMIN": self.ready["admin"],
            "OPENIMDS_TOKEN_FILE": self.ready["token_file"],
        }

    @property
    def authorization(self) -> dict[str, str]:
        """The header of a request to the admin API, with the token of now."""
        token = Path(self.ready["token_file"]).read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    def next_line(self) -> str:
        """Wait for the next sentence of its log on stderr, after quiet lines."""
        assert self.process.stderr
        return next_sentence(self.process.stderr.fileno())

    def stop(self) -> tuple[int, str]:
        """End it as an init system would; return its exit code and its sentences."""
        code, err = self.stop_with_log()
        return code, sentences(err)

    def stop_with_log(self) -> tuple[int, str]:
        """End it as an init system would; return its exit code and its stderr."""
        self.process.terminate()
        _, err = self.process.communicate(timeout=_TIMEOUT_S)
        return self.process.returncode, err


@contextmanager
def serving(*arguments: str, cwd: Path, files: str = "", **environment: str) -> Iterator[Server]:
    """Start `openimds serve` on a free port and wait for its ready line.

    `files` is the soft and the hard limit of its open files.
    """
    limit = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', files] if files else []
    command = [*limit, *COMMAND, "serve"]
    process = subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *arguments],
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
        assert line, process.communicate(timeout=_TIMEOUT_S)[1]
        yield Server(process, json.loads(line))
    finally:
        process.kill()
        process.communicate(timeout=_TIMEOUT_S)


def next_line(descriptor: int) -> str:
    """Wait for the next line of a pipe; read byte by byte, past any buffer."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], _TIMEOUT_S)
        assert ready, f"no line after {line!r}"
        data = os.read(descriptor, 1)
        assert data, f"the pipe ended after {line!r}"
        line += data
    return line.decode()


def next_sentence(descriptor: int) -> str:
    """Wait for the next line of a log that is not quiet, as a sentence."""
    while not (found := sentence(next_line(descriptor))):
        pass
    return found


def run(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that ends by itself; its log is returned as sentences."""
    ended = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
        timeout=_TIMEOUT_S,
        check=False,
        env=clean_environment({"XDG_STATE_HOME": str(cwd / "state"), **environment}),
    )
    ended.stderr = sentences(ended.stderr)
    return ended


def clean_environment(more: dict[str, str]) -> dict[str, str]:
    """Return an environment without settings of OpenIMDS but these."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **more}


def free_port() -> int:
    """Return a free port of loopback that no other process gets unasked."""
    while True:
        port = _CHOICE.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
