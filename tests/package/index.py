"""The package index from which this machine's pip installs."""

import os
import subprocess
import sys

PROBE = "hatchling==1.33.0"
"""A small package that every installation from a checkout needs."""
_TIMEOUT_S = 20


def why_unreachable(**environment: str) -> str:
    """Return the reason for which pip cannot install, or nothing if it can."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--dry-run", "--ignore-installed", "--no-deps", "--retries", "0"),
            *("--timeout", str(_TIMEOUT_S), PROBE),
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=5 * _TIMEOUT_S,
    )
    if ran.returncode == 0:
        return ""
    return f"no package index can be reached: {(ran.stderr.splitlines() or ['pip failed'])[-1]}"
