"""Records the feed of this release: `python -m tests.unit.server.hosts.record_feed FOLDER`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from openimds.events.clock import ClockState
from tests.unit.server.hosts.fleet import ControlSide, HostSide, until

SHOWN_S = 1_893_456_000.0  # Tue, 01 Jan 2030 00:00:00 GMT
Stage = Callable[[ControlSide], Awaitable[object]]


async def _vms(control: ControlSide) -> None:
    for number in (1, 2, 3):
        vm = {"host": "a", "reach": {"address": [f"10.0.0.{number}"]}}
        await control.put(f"vm-{number}", **vm, identities={"system": True})


STAGES: tuple[tuple[str, Stage], ...] = (
    ("vms", _vms),
    ("change", lambda control: control.put("vm-2", host="a", reach={"address": ["10.0.0.4"]})),
    (
        "clock",
        lambda control: control.control.events_service.set_clock(ClockState(SHOWN_S, 0.0, 0.0)),
    ),
    ("event", lambda control: control.declare("vm-1")),
    (
        "fault",
        lambda control: control.control.faults.set(
            {"effect": "status", "vms": ["vm-3"], "status": 503}
        ),
    ),
    ("no-fault", lambda control: control.control.faults.clear()),
    ("removal", lambda control: control.control.fleet_service.remove("vm-3", "test")),
)
"""What is done in control, one after the other; each makes one file."""


class RecordedHost(HostSide):
    """A host that keeps the octets that control sends it."""

    sent = b""

    def tap(self, writer: asyncio.StreamWriter) -> None:
        write = writer.write

        def keep(data: bytes) -> None:
            self.sent += data
            write(data)

        setattr(writer, "write", keep)  # noqa: B010 - to see what passes; mypy knows a method


async def record(folder: Path) -> None:
    """Write a file for each stage."""
    control = ControlSide()
    control.link.clock.is_virtual = True
    control.link.clock.take(ClockState(SHOWN_S - 3600, 0.0, 0.0))
    host = RecordedHost("a", {"control": control})
    try:
        await control.load()
        host.follow()
        await until(host.follower.caught_up.is_set)
        for number, (name, do) in enumerate(STAGES):
            await do(control)
            await control.settle()
            (folder / f"{number}-{name}.bin").write_bytes(host.sent)
            host.sent = b""
    finally:
        await host.close()
        await control.close()


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1])))
