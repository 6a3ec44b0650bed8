"""Check that the package uses no name that Windows or macOS lack.

mypy reads the same stubs for another platform, and reports each name that is missing there. The
files that need Linux are left out; the other ones import them only after `require_linux`, or for
parts of them that work anywhere.
"""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

ROOT = Path(__file__).parents[1]
PLATFORMS = ("win32", "darwin")
LINUX_ONLY = (
    "src/openimds/linux/",
    "src/openimds/server/sandboxed.py",
    "src/openimds/testing/netns_child.py",
    "src/openimds/testing/netns_parent.py",
)
_ERROR = re.compile(r"^\S+:\d+: error: ")


def errors(platform: str, *more: str) -> list[str]:
    """Return mypy's errors for a platform, outside of the files that need Linux."""
    cache = ROOT / ".mypy_cache" / platform
    ran = run(
        [
            *(sys.executable, "-m", "mypy", "--platform", platform, "--cache-dir", str(cache)),
            *("--no-pretty", "--no-warn-unreachable", "--no-error-summary"),
            *(more or ("src",)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.stderr:
        return [ran.stderr]
    lines = filter(_ERROR.match, ran.stdout.splitlines())
    return [line for line in lines if not line.startswith(LINUX_ONLY)]


def main() -> int:
    """Print the errors of every platform; return the exit code."""
    with ThreadPoolExecutor() as pool:
        found = dict(zip(PLATFORMS, pool.map(errors, PLATFORMS), strict=True))
    for platform, lines in found.items():
        for line in lines:
            print(f"{platform}: {line}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
