"""A host that control refuses says why."""

import asyncio
from typing import Any

from openimds.server.hosts.follower import Answer
from tests.unit.server.hosts.fleet import ControlSide, HostSide, until, with_fleet


def test_host_tells_once_why_control_refuses_it() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        connect, attempts = a.follower._connect, 0

        async def counted(address: str, answer: Answer) -> Any:
            nonlocal attempts
            attempts += 1
            return await connect(address, answer)

        async def refusals(count: int) -> None:
            await until(lambda: attempts >= before + 3)
            found = [message for message in a.messages if "the host a is revoked" in message]
            assert len(found) == count

        a.follower._connect = counted
        for count in (1, 2):
            before = attempts
            control.authority.revoked = {"a"}
            control.port.cut_off("a")
            await refusals(count)
            control.authority.revoked = set()
            await until(lambda: "a" in control.sessions)
            await asyncio.wait_for(control.settle(), 10)
        assert a.messages[-1] == "control at control is followed again"

    with_fleet(work)
