"""A person with an installed package, who types commands."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.system.process import clean_environment


class User:
    """A home folder, and an environment in it from which commands run."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @property
    def python(self) -> str:
        """The interpreter of the environment."""
        return str(self.home / "env" / "bin" / "python")

    def run(
        self, *command: str, cwd: Path | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment and return its output."""
        return subprocess.run(
            command,
            cwd=cwd or self.home,
            env=self._environment(environment),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=100,
        )

    def prints(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        """Run a command that must succeed, and return its standard output."""
        ran = self.run(*command, cwd=cwd, **environment)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    @contextmanager
    def serving(self, *command: str) -> Iterator[dict[str, Any]]:
        """Start a server on free ports, and return its ready line."""
        ports = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        process = subprocess.Popen(
            [*command, *ports],
            cwd=self.home,
            env=self._environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, process.communicate(timeout=30)[1]
            yield json.loads(line)
        finally:
            process.kill()
            process.communicate(timeout=30)

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        path = f"{self.home / 'env' / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
        return clean_environment({"HOME": str(self.home), "PATH": path, **more})
