"""Parts of the scripts that build packages: commands to run, and facts about this commit."""

import os
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAINTAINER = "The OpenIMDS authors <openimds@contact.invalid>"
"""Who makes the packages; `make release-check` asks for an address."""
_DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def version() -> str:
    """Return the version of OpenIMDS."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def architecture() -> str:
    """Return Debian's name for the architecture of this machine."""
    machine = platform.machine()
    return output("dpkg", "--print-architecture") or _DEBIAN_NAMES.get(machine, machine)


def epoch() -> int:
    """Return the time of a build: SOURCE_DATE_EPOCH, else that of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    return int(
        output("git", "log", "-1", "--format=%ct") or (ROOT / "CHANGELOG.md").stat().st_mtime
    )


def output(*command: str | Path) -> str:
    """Return the output of a command, or an empty text if it cannot be had."""
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def run(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a command; print its output only if it fails."""
    texts = [str(part) for part in command]
    ran = subprocess.run(
        texts,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch()), **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.stderr.write(ran.stdout)
        sys.exit(
            f"{Path(sys.argv[0]).name}: {Path(texts[0]).name} failed with status {ran.returncode}"
        )
