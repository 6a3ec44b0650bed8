"""The project of another author: its suites, and its pytest, which fails on warnings."""

import shutil
from pathlib import Path

import pytest

SUITES = Path(__file__).parent / "suites"
# Plugins of other packages in this environment are disabled.
OPTIONS = """
[pytest]
addopts = --strict-config --strict-markers --disable-socket --allow-hosts=127.0.0.0/8
    --import-mode=importlib -p no:schemathesis -p no:hypothesispytest
filterwarnings = error
"""


class Project:
    """The folder of a project."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        """Write a configuration, without any test."""
        self.pytester = pytester
        self.write("pytest.ini", OPTIONS)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.pytester.path / name).write_text(text)

    def configure(self, *lines: str) -> None:
        """Add lines to the configuration."""
        self.write("pytest.ini", OPTIONS + "\n".join(lines) + "\n")

    def take(self, *suites: str) -> tuple[str, ...]:
        """Copy suites and the files that they read; return their names."""
        for suite in (*suites, "fleet.yaml"):
            shutil.copy(SUITES / suite, self.pytester.path)
        return suites

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in its own process, with a line for each test."""
        return self.pytester.runpytest_subprocess("-rA", *arguments)
