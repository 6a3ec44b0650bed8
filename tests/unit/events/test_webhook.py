"""The hook: what it is told, what happens when it fails, and by which ways it is reached."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.events.webhook import MOST_BEHIND, Deliver, Webhook, WebhookError, delivery
from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, LogEntry
from tests.unit.admin.setup import FailingStore

AT = "2026-11-22T19:54:46.000Z"


class Stage:
    """A hook over a store; what it is told is kept, and it sleeps at once."""

    def __init__(self, store: FailingStore | None = None) -> None:
        self.store = store or FailingStore()
        fleet_index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        self.fleet_service = FleetService(self.store, fleet_index, lambda: 0.0, self._open)
        self.fleet_service.last_log_entry = self.store.last_log_entry()
        self.told: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.slept: list[float] = []
        self.fails = 0
        self.hook = Webhook(self._deliver, self.fleet_service, self.said.append, self._sleep)

    async def _open(self, *_: object) -> None:
        """No listener is ever wanted here."""

    async def _deliver(self, body: bytes) -> None:
        if self.fails:
            self.fails -= 1
            raise WebhookError("no")
        self.told.append(json.loads(body))

    async def _sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.store.fails.clear()
        await asyncio.sleep(0)

    async def happen(self, *names: str) -> None:
        lines = tuple(
            LogEntry(0, AT, "me", name, b'{"event":"%s"}' % name.encode()) for name in names
        )
        for one in await self.fleet_service.call_store(
            self.store.write_events, EventBatch(log_entries=lines)
        ):
            self.fleet_service.last_log_entry = one.number
        self.hook.wake()

    def names(self) -> list[str]:
        return [one["event"] for one in self.told]


def play(work: Callable[[Stage], Awaitable[None]], store: FailingStore | None = None) -> None:
    async def whole() -> None:
        stage = Stage(store)
        task = asyncio.create_task(stage.hook.run())
        await until(
            lambda: not stage.hook._has_more.is_set() and stage.store.value("hook") is not None
        )
        await work(stage)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stage.fleet_service._thread.shutdown()

    asyncio.run(whole())


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if is_so():
            return
        await asyncio.sleep(0)
    raise AssertionError(is_so)


def test_it_is_told_everything_in_order_and_remembers_how_far_it_is() -> None:
    store = FailingStore()

    async def first(stage: Stage) -> None:
        await stage.happen("A", "B")
        await until(lambda: stage.hook.told == 2 and store.value("hook") == b"2")
        assert stage.told == [{"number": 1, "event": "A"}, {"number": 2, "event": "B"}]

    async def second(stage: Stage) -> None:
        await until(lambda: stage.hook.told == 1)
        assert stage.names() == ["C"]

    play(first, store)
    store.write_events(EventBatch(log_entries=(LogEntry(0, AT, "me", "C", b'{"event":"C"}'),)))
    play(second, store)


def test_a_new_hook_is_not_told_what_was_before_it() -> None:
    store = FailingStore()
    store.write_events(EventBatch(log_entries=(LogEntry(0, AT, "me", "old", b'{"event":"old"}'),)))

    async def work(stage: Stage) -> None:
        await stage.happen("new")
        await until(lambda: stage.hook.told == 1)
        assert stage.names() == ["new"]

    play(work, store)


def test_it_is_tried_four_times_and_then_left_out() -> None:
    async def work(stage: Stage) -> None:
        stage.fails = 3
        await stage.happen("A")
        await until(lambda: stage.hook.told == 1)
        assert stage.slept == [1, 2, 4]
        stage.fails = 4
        await stage.happen("B", "C")
        await until(lambda: stage.hook.told == 2)
        assert (stage.names(), stage.hook.failed) == (["A", "C"], 1)
        assert stage.said == ["the event hook failed for event B: no"]

    play(work)


def test_one_that_hangs_is_given_up() -> None:
    async def work(stage: Stage) -> None:
        async def hang(_: bytes) -> None:
            await asyncio.Event().wait()

        stage.hook._deliver = hang
        stage.hook._timeout_s = 0.001
        await stage.happen("A")
        await until(lambda: stage.hook.failed == 1)
        assert stage.said == ["the event hook failed for event A: no answer within 0.001 s"]

    play(work)


def test_what_is_too_far_behind_is_left_out_and_counted() -> None:
    async def work(stage: Stage) -> None:
        await stage.happen(*(f"E{number}" for number in range(MOST_BEHIND + 5)))
        await until(lambda: stage.hook.told == MOST_BEHIND)
        assert stage.hook.left_out == 5
        assert stage.names()[0] == "E5"

    play(work)


def test_it_waits_for_a_store_that_fails() -> None:
    async def work(stage: Stage) -> None:
        await stage.happen("A")
        await until(lambda: stage.hook.told == 1)
        stage.store.fails = {"log_entries"}
        await stage.happen("B")
        await until(lambda: stage.hook.told == 2)
        assert stage.names() == ["A", "B"]
        assert stage.said == ["the event hook waits: fleet.db: the disk is full"]

    play(work)


def test_a_command_gets_the_line_on_its_stdin(tmp_path: Path) -> None:
    script = tmp_path / "a hook.py"
    script.write_text("import sys; open(sys.argv[1], 'w').write(sys.stdin.read())")
    asyncio.run(run(delivery(f"{sys.executable} '{script}' {tmp_path / 'got'}"), b'{"a":1}'))
    assert (tmp_path / "got").read_text() == '{"a":1}\n'


async def run(deliver: Deliver, body: bytes = b"{}") -> None:
    await deliver(body)


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    script = tmp_path / "hook.py"
    script.write_text("import sys; sys.exit('no room')")
    with pytest.raises(WebhookError, match="ended with 1: no room"):
        asyncio.run(run(delivery(f"{sys.executable} {script}")))


def test_a_command_that_says_much_is_quoted_at_its_end(tmp_path: Path) -> None:
    script = tmp_path / "hook.py"
    script.write_text("import sys; sys.stderr.write('x' * 3000000 + 'the end'); sys.exit(3)")
    with pytest.raises(WebhookError) as caught:
        asyncio.run(run(delivery(f"{sys.executable} {script}")))
    assert len(str(caught.value)) < 5000
    assert str(caught.value).endswith("xthe end")


def test_what_a_command_leaves_in_the_background_is_not_waited_for() -> None:
    async def whole() -> float:
        began_s = asyncio.get_running_loop().time()
        await delivery("sh -c 'sleep 4 & exit 0'")(b"{}")
        return asyncio.get_running_loop().time() - began_s

    assert asyncio.run(whole()) < 4, "it ended with the command, not with what it had started"


def test_a_command_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(run(delivery("no-such-command-here")))


def test_a_command_that_is_given_up_ends_with_its_children(tmp_path: Path) -> None:
    async def whole() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await delivery("sh -c 'sleep 1000 & wait'")(b"{}")

    asyncio.run(whole())


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        # Without the query: it may be a secret.
        (b"HTTP/1.1 503 No\r\n\r\n", "503"),
        (b"", "no status"),
    ],
)
def test_a_url_gets_a_post(answer: bytes, error: str) -> None:
    async def whole() -> None:
        got: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            got.append(head + await reader.readexactly(7))
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            await delivery(f"http://127.0.0.1:{port}/drain?x=1")(b'{"a":1}')
        except WebhookError as refused:
            assert error
            said = f"http://127.0.0.1:{port} answered with {error}"
            assert str(refused) == said  # noqa: PT017 - one of the cases has none
        else:
            assert not error
        server.close()
        await server.wait_closed()
        assert got == [
            b"POST /drain?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
            b'Connection: close\r\nContent-Length: 7\r\n\r\n{"a":1}' % port
        ]

    asyncio.run(whole())


@pytest.mark.parametrize("target", ["http://", "http://a:b/", "https:///x", "'", " "])
def test_what_is_neither_a_command_nor_a_url_is_refused(target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        delivery(target)
    assert caught.value.where == "event_hook"


def test_a_url_with_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        delivery("https://me:hush@drain.example/x")
    assert "hush" not in str(caught.value)
    assert caught.value.hint == "What proves us can stand in the path or the query"
