"""The machine as far as figures depend on it, without its name or place."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from openimds import __version__

_TOOLS = {
    "nginx": ("-v", r"nginx/([\d.]+)"),
    "wrk": ("-v", r"wrk \D*([\d.]+)"),
    "go": ("version", r"go([\d.]+)"),
}


def describe() -> dict[str, str]:
    """Return the properties that figures depend on."""
    release = re.match(r"[\d.]+", platform.release())
    return {
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {release[0] if release else ''}".strip(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openimds": __version__,
        **{name: _package(name) for name in ("httptools", "msgspec", "pyyaml")},
        **{name: _tool(name) for name in _TOOLS},
    }


def find(name: str) -> str:
    """Return the path of a program, also from places that PATH may lack, or ""."""
    return (
        shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/go/bin") or ""
    )


def cores() -> tuple[int, int]:
    """Return a core for servers and one for clients; a single core is shared."""
    known = sorted(os.sched_getaffinity(0))
    return known[-1], known[0]


def busy_s() -> float:
    """Return the busy CPU seconds of the two cores of `cores`."""
    names = {f"cpu{core}" for core in cores()}
    lines = [line.split() for line in Path("/proc/stat").read_text("utf-8").splitlines()]
    # user nice system idle iowait irq softirq steal, in ticks (proc_stat(5)).
    ticks = [int(line[i]) for line in lines if line[0] in names for i in (1, 2, 3, 6, 7, 8)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _cpu() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    return model[1] if model else platform.machine()


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _tool(name: str) -> str:
    flag, pattern = _TOOLS[name]
    path = find(name)
    if not path:
        return "absent"
    ran = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    match = re.search(pattern, ran.stdout + ran.stderr)
    return match[1] if match else "unknown"
