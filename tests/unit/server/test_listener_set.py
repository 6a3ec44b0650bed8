"""Listening sockets: their count, and listeners in namespaces that were recreated."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openimds.dataplane.listeners import IsStale, Netns
from openimds.dataplane.reactor import Reactor
from openimds.errors import ConfigError
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.listener_set import REPORT_S, RETRY_S, ListenerSet
from tests.support.talk import a_dispatcher, a_fleet, an_index, replies, request


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


class Stage:
    """A set with listeners in namespaces; a test recreates them and moves time."""

    def __init__(self, text: str = "127.0.0.1:0") -> None:
        self.generations: dict[str, int] = {}
        self.lack: Exception | None = None
        self.messages: list[str] = []
        self.reopened = 0
        self.due: list[tuple[float, Callable[[], None]]] = []
        fleet = a_fleet(**{name: {"reach": {"listen": [f"netns:{name}"]}} for name in ("a", "b")})
        self.reactor = Reactor(a_dispatcher(an_index(*fleet)))
        self.set = ListenerSet(
            self.reactor,
            text,
            InheritedSockets(),
            self.messages.append,
            lambda _: None,
            on_reopen=self._on_reopen,
            enter=self._enter,
            call_later=self._call_later,
        )

    def _on_reopen(self) -> None:
        self.reopened += 1

    def _enter(self, netns: Netns, _where: str) -> tuple[socket.socket, IsStale]:
        if self.lack:
            raise self.lack
        name = netns.name
        generation = self.generations.setdefault(name, 0)
        listening = socket.create_server(("127.0.0.1", 0))
        return listening, lambda: self.generations[name] != generation

    def _call_later(self, wait_s: float, call: Callable[[], None]) -> object:
        self.due.append((wait_s, call))
        return None

    def recreate(self, *names: str) -> None:
        for name in names:
            self.generations[name] += 1

    async def wait(self) -> None:
        """Let the one retry that is due begin and end."""
        ((wait_s, call),) = self.due
        self.due.clear()
        assert wait_s == RETRY_S
        call()
        assert self.set._retry
        await self.set._retry

    async def name_at(self, text: str) -> str:
        """Return the name of the VM whose listener this is."""
        port = int(self.set.by_text[text].url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK)
        body = replies(await reader.read())[0].body
        writer.close()
        return body.decode()


ASK = request(
    "/metadata/instance/compute/name?api-version=2021-02-01&format=text",
    headers={"Metadata": "true", "Connection": "close"},
)
NETNS = {"netns:a": "a", "netns:b": "b"}
LACKS = [
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENFILE, "Too many open files in system"),
    RuntimeError("can't start new thread"),
]


def play(work: Callable[[Stage], Awaitable[None]], text: str = "127.0.0.1:0") -> None:
    async def whole() -> None:
        stage = Stage(text)
        try:
            await stage.set.open()
            await stage.set.update(NETNS, frozenset())
            await work(stage)
        finally:
            stage.set.close()
            stage.reactor.close()

    asyncio.run(whole())


@pytest.mark.parametrize("lack", LACKS, ids=["process", "machine", "threads"])
def test_stale_listener_is_reopened_when_a_shortage_ends(lack: Exception) -> None:
    async def work(stage: Stage) -> None:
        before = dict(stage.set.by_text)
        stage.recreate("a")
        stage.lack = lack
        await stage.set.reopen_stale()
        await stage.wait()
        assert stage.set.by_text == before, "nothing is lost meanwhile"
        assert (stage.set.failures, stage.reopened) == (2, 0)
        stage.lack = None
        await stage.wait()
        assert not stage.set.by_text["netns:a"].is_stale()
        assert before["netns:a"].sockets[0].fileno() == -1
        assert await stage.name_at("netns:a") == "a"
        assert stage.set.by_text["netns:b"] is before["netns:b"]
        assert (stage.set.failures, stage.reopened, stage.due) == (2, 1, [])
        assert stage.messages[-1] == "netns:a was recreated; its listener is open again"

    play(work)


def test_failed_retries_are_reported_once_a_minute() -> None:
    message = (
        "vms.a.reach.listen: saw netns:a (too many open files), expected free file descriptors, "
        "memory and threads. Raise the limits (LimitNOFILE= and TasksMax= of systemd; ulimit -Hn, "
        "ulimit -Hu); guests in the new namespace get no answer, nor in 1 more; retrying every 1 s"
    )

    async def work(stage: Stage) -> None:
        stage.recreate("a", "b")
        stage.lack = LACKS[0]
        await stage.set.reopen_stale()
        tries = int(REPORT_S / RETRY_S)
        for _ in range(2 * tries + 1):
            await stage.wait()
        assert stage.messages == [message] * 3
        assert stage.set.failures == 2 * (2 * tries + 2)
        # A reload reports at once, and does not add a second timer.
        await stage.set.reopen_stale()
        assert stage.messages == [message] * 4
        assert len(stage.due) == 1

    play(work)


def test_listener_that_is_unwanted_meanwhile_is_not_retried() -> None:
    async def work(stage: Stage) -> None:
        stage.recreate("a")
        stage.lack = LACKS[0]
        await stage.set.reopen_stale()
        await stage.set.update({"netns:b": "b"}, frozenset())
        await stage.wait()
        assert (stage.set.failures, stage.due) == (1, [])
        assert sorted(stage.set.by_text) == ["", "netns:b"]

    play(work)


def test_closed_set_does_not_retry() -> None:
    async def work(stage: Stage) -> None:
        stage.recreate("a")
        stage.lack = LACKS[0]
        await stage.set.reopen_stale()
        stage.set.close()
        ((_, call),) = stage.due
        call()
        assert stage.set._retry is None

    play(work)


def test_every_shared_listener_is_reopened() -> None:
    async def work(stage: Stage) -> None:
        before = (stage.set.by_text[""], *stage.set.others)
        stage.recreate("one", "two")
        await stage.set.reopen_stale()
        after = (stage.set.by_text[""], *stage.set.others)
        assert [listener.text for listener in after] == ["netns:one", "netns:two"]
        assert not any(listener.is_stale() for listener in after)
        assert {listener.url for listener in before}.isdisjoint(one.url for one in after)
        assert [message.partition(" ")[0] for message in stage.messages] == [
            "netns:one",
            "netns:two",
        ]

    play(work, "netns:one,netns:two")


def test_simultaneous_reloads_reopen_a_listener_once() -> None:
    async def work(stage: Stage) -> None:
        stage.recreate("a")
        await asyncio.gather(*(stage.set.reopen_stale() for _ in range(3)))
        assert stage.messages == ["netns:a was recreated; its listener is open again"]

    play(work)
