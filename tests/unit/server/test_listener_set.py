"""The count of listening sockets, which guests' connections make room for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openimds.dataplane.reactor import Reactor
from openimds.errors import ConfigError
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_set import ListenerSet
from tests.support.talk import a_dispatcher


def counts_of(work: Callable[[ListenerSet], Awaitable[None]]) -> list[int]:
    """Return the counts that a set of two shared listeners reports during some work."""

    async def run() -> list[int]:
        counts: list[int] = []
        reactor = Reactor(a_dispatcher())
        text = "127.0.0.1:0,127.0.0.1:0"
        listeners = ListenerSet(reactor, text, InheritedSockets(), print, counts.append)
        try:
            await work(listeners)
        finally:
            listeners.close()
            reactor.close()
        return counts

    return asyncio.run(run())


def test_count_grows_before_listeners_open(tmp_path: Path) -> None:
    wanted = {f"unix:{tmp_path}/{name}": name for name in "abc"}

    async def work(listeners: ListenerSet) -> None:
        await listeners.open()
        await listeners.update(wanted, frozenset())

    assert counts_of(work) == [2, 5, 5]


def test_count_shrinks_after_listeners_close(tmp_path: Path) -> None:
    wanted = {f"unix:{tmp_path}/{name}": name for name in "abc"}

    async def work(listeners: ListenerSet) -> None:
        await listeners.open()
        await listeners.update(wanted, frozenset())
        await listeners.update({}, {f"unix:{tmp_path}/a"})

    assert counts_of(work)[-2:] == [5, 3]


def test_count_of_failed_listeners_is_taken_back() -> None:
    async def work(listeners: ListenerSet) -> None:
        await listeners.open()
        with pytest.raises(ConfigError):
            await listeners.update({"unix:/nowhere/x": "a"}, frozenset())
        await listeners.update({}, frozenset())

    assert counts_of(work) == [2, 3, 2, 2]
