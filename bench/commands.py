"""Commands of operators: the time from typing one to its last line."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Plan, Row, Table, progress, spread
from bench.fleets import write
from bench.servers import Server, openimds

VMS = 5000
IDENTITIES = f"identity list of {VMS:,} VMs"
COMMANDS = {IDENTITIES: ("identity", "list"), f"vm list of {VMS:,} VMs": ("vm", "list")}
_ROUNDS = 5


def measure(plan: Plan) -> dict[str, Table]:
    """Return seconds of commands beside an idle server, as a process each."""
    progress(f"commands: {VMS:,} VMs")
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        fleet = write(VMS, "json", Path(folder), has_identities=True)
        arguments = ("--fleet", str(fleet), "--admin", "127.0.0.1:0", "--public", "127.0.0.1:0")
        with openimds(*arguments) as server:
            for name, command in COMMANDS.items():
                times = [_seconds(server, command) for _ in range(plan.rounds(_ROUNDS))]
                rows[name] = {"done_s": spread(times)}
    return {"commands": Table("Commands of operators", "command", rows)}


def _seconds(server: Server, command: tuple[str, ...]) -> float:
    found = {
        "OPENIMDS_ADMIN": server.ready["admin"],
        "OPENIMDS_TOKEN_FILE": server.ready["token_file"],
    }
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "openimds", *command],
        env={**os.environ, **found},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began
