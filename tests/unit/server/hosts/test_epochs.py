"""No host goes back in time: a control that was replaced is not followed."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from openimds.errors import Error
from openimds.server.hosts.messages import ReadDigests
from tests.unit.server.hosts.fleet import ControlSide, HostSide, until

Work = Callable[[ControlSide, ControlSide, HostSide], Awaitable[None]]


def with_two_controls(work: Work, identity: str = "store-1", epoch: int = 6) -> None:
    """Do work with a host that follows a control by epoch 7, beside another one."""

    async def whole() -> None:
        old, new = ControlSide(identity=identity), ControlSide()
        old.epoch, new.epoch = epoch, 7
        host = HostSide("a", {"old": old, "new": new})
        host.controls = {"new": new}
        try:
            for control in (old, new):
                await control.load()
            await old.put("web", host="a", reach={"address": ["10.0.0.1"]})
            await new.put("web", host="a", reach={"address": ["10.0.0.2"]})
            host.follow()
            await until(host.follower.caught_up.is_set)
            assert host.follower.state.epoch == 7
            await work(old, new, host)
        finally:
            await host.close()
            for control in (old, new):
                await control.close()

    asyncio.run(whole())


def follow_only(host: HostSide, name: str, control: ControlSide) -> None:
    """Cut a host off, and leave it one control."""
    for side in host.controls.values():
        for session in [*side.sessions.values()]:
            session.channel.abort()
    host.controls = {name: control}


def test_replaced_control_of_the_same_store_is_not_followed() -> None:
    async def work(old: ControlSide, new: ControlSide, host: HostSide) -> None:
        follow_only(host, "old", old)
        await until(lambda: any("it was replaced" in line for line in host.messages))
        (notice,) = [line for line in host.messages if "replaced" in line]
        assert notice == (
            "control is away (old: it leads by epoch 6 of the lease, but this host has followed "
            "epoch 7 of the same store: it was replaced); guests are served on"
        )
        assert [host.name_at(f"10.0.0.{number}") for number in (1, 2)] == ["404", "web"]
        connections = host.follower.state.connections
        follow_only(host, "new", new)
        await until(lambda: host.follower.state.connections > connections)
        assert (host.follower.state.control, host.follower.state.epoch) == ("new", 7)

    with_two_controls(work)


@pytest.mark.parametrize(
    "identity, epoch, followed",
    [("store-1", 8, 8), ("store-1", 0, 7), ("store-2", 1, 1)],
    ids=["next", "earlier-release", "another-store"],
)
def test_other_control_is_compared_and_followed(identity: str, epoch: int, followed: int) -> None:
    async def work(old: ControlSide, _new: ControlSide, host: HostSide) -> None:
        follow_only(host, "old", old)
        await until(lambda: host.name_at("10.0.0.1") == "web")
        await until(lambda: host.follower.state.epoch == followed)
        assert host.follower.state.store == identity

    with_two_controls(work, identity, epoch)


def test_message_of_a_control_that_is_not_followed_is_refused() -> None:
    async def whole() -> None:
        host = HostSide("a", {})
        with pytest.raises(Error, match="does not follow this control"):
            await host.follower.answer(ReadDigests(""))
        await host.close()

    asyncio.run(whole())
