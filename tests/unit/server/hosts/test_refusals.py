"""A host that control refuses says why, and knows a refusal of its certificate."""

import asyncio
import socket
from ssl import SSLCertVerificationError
from typing import Any

import pytest

from openimds.errors import Error
from openimds.server.hosts import follower
from openimds.server.hosts.follower import Answer
from openimds.server.hosts.messages import ToFleetHost
from openimds.server.seam.channel import Channel
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


def test_silence_of_control_refuses_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        monkeypatch.setattr(follower, "PATIENCE_S", 0.01)
        silent: list[socket.socket] = []

        async def to_nobody(_: str, answer: Answer) -> Channel:
            ours, theirs = socket.socketpair()
            silent.append(theirs)
            return Channel(*await asyncio.open_connection(sock=ours), ToFleetHost, answer)

        connect, a.follower._connect = a.follower._connect, to_nobody
        control.port.cut_off("a")
        await until(lambda: any("(control: no answer)" in one for one in a.messages))
        assert not a.follower.is_following
        assert not a.follower.is_refused
        monkeypatch.undo()
        a.follower._connect = connect
        await until(lambda: "a" in control.sessions)
        for one in silent:
            one.close()

    with_fleet(work)


@pytest.mark.parametrize(
    "error, is_refused",
    [
        (SSLCertVerificationError(1, "certificate verify failed"), True),
        (Error("the certificate is of no control"), False),
        (ValueError("internal"), False),
        (ConnectionRefusedError(111, "Connection refused"), False),
    ],
)
def test_only_a_refused_certificate_lets_a_pod_join_again(
    error: Exception, is_refused: bool
) -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        connect = a.follower._connect

        async def failing(_: str, answer: Answer) -> Channel:
            raise error

        a.follower._connect = failing
        control.port.cut_off("a")
        await until(lambda: not a.follower.is_following and "control: " in a.follower.state.reason)
        assert a.follower.is_refused == is_refused
        a.follower._connect = connect
        await until(lambda: a.follower.is_following)
        assert not a.follower._refusing

    with_fleet(work)


def test_control_that_answers_again_refuses_no_longer() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        control.authority.revoked = {"a"}
        control.port.cut_off("a")
        await until(lambda: a.follower.is_refused)
        make_session, control.port.make_session = control.port.make_session, None
        control.authority.revoked = set()
        await until(lambda: not a.follower.is_refused)
        assert not a.follower.is_following  # It has to wait, but its certificate counts.
        control.port.make_session = make_session
        await until(lambda: a.follower.is_following)

    with_fleet(work)
