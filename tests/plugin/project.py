"""A project of somebody else: its suites, and its pytest, which takes warnings for errors."""

import shutil
from pathlib import Path

import pytest

SUITES = Path(__file__).parent / "suites"
# What others in this environment load at every start is not what is tested here.
OPTIONS = """
[pytest]
addopts = --strict-config --strict-markers --disable-socket --allow-hosts=127.0.0.0/8
    --import-mode=importlib -p no:schemathesis -p no:hypothesispytest
filterwarnings = error
"""


class Project:
    """The folder of a project."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        """Begin with a configuration, and without any test."""
        self.pytester = pytester
        self.write("pytest.ini", OPTIONS)

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.pytester.path / name).write_text(text)

    def configure(self, *lines: str) -> None:
        """Add lines to the configuration."""
        self.write("pytest.ini", OPTIONS + "\n".join(lines) + "\n")

    def take(self, *suites: str) -> tuple[str, ...]:
        """Copy suites, and whatever they read; return their names."""
        for suite in (*suites, "fleet.yaml"):
            shutil.copy(SUITES / suite, self.pytester.path)
        return suites

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a process of its own, and have a line for each test."""
        return self.pytester.runpytest_subprocess("-rA", *arguments)
