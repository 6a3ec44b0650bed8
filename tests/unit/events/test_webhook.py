"""The webhook: delivered lines, failures, and delivery by command or URL."""

import asyncio
import errno
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
from openimds.fleet.store.port import EventBatch, Log, LogEntry
from tests.unit.admin.setup import FailingStore

AT = "2026-11-22T19:54:46.000Z"


class WebhookRun:
    """A webhook over a store; lines are collected, and a sleep ends at once."""

    def __init__(self, store: FailingStore | None = None) -> None:
        self.store = store or FailingStore()
        fleet_index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        self.fleet_service = FleetService(self.store, fleet_index, lambda: 0.0, self._open)
        self.fleet_service.last_log_entry = self.store.last_log_entry()
        self.received: list[dict[str, Any]] = []
        self.notices: list[str] = []
        self.slept: list[float] = []
        self.fails = 0
        self.lacks: list[Exception] = []
        self.webhook = Webhook(self._deliver, self.fleet_service, self.notices.append, self._sleep)

    async def _open(self, *_: object) -> None:
        """Open nothing: no VM wants a listener."""

    async def _deliver(self, body: bytes) -> None:
        if self.lacks:
            raise self.lacks.pop()
        if self.fails:
            self.fails -= 1
            raise WebhookError("no")
        self.received.append(json.loads(body))

    async def _sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.store.fails.clear()
        await asyncio.sleep(0)

    async def log(self, *names: str) -> None:
        lines = tuple(
            LogEntry(0, AT, "me", name, b'{"event":"%s"}' % name.encode()) for name in names
        )
        for entry in await self.fleet_service.call_store(
            self.store.write_events, EventBatch(log_entries=lines)
        ):
            self.fleet_service.last_log_entry = entry.number
        self.webhook.wake()

    def names(self) -> list[str]:
        return [line["event"] for line in self.received]


def run_webhook(
    work: Callable[[WebhookRun], Awaitable[None]], store: FailingStore | None = None
) -> None:
    async def deliver_and_check() -> None:
        webhook_run = WebhookRun(store)
        task = asyncio.create_task(webhook_run.webhook.run())
        await until(
            lambda: (
                not webhook_run.webhook._has_more.is_set()
                and webhook_run.store.value("hook") is not None
            )
        )
        await work(webhook_run)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        webhook_run.fleet_service._thread.shutdown()

    asyncio.run(deliver_and_check())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError(condition)


def test_lines_are_delivered_in_order_and_the_cursor_stored() -> None:
    store = FailingStore()

    async def first(webhook_run: WebhookRun) -> None:
        await webhook_run.log("A", "B")
        await until(lambda: webhook_run.webhook.delivered == 2 and store.value("hook") == b"2")
        assert webhook_run.webhook.waiting == 0
        assert webhook_run.received == [{"number": 1, "event": "A"}, {"number": 2, "event": "B"}]

    async def second(webhook_run: WebhookRun) -> None:
        await until(lambda: webhook_run.webhook.delivered == 1)
        assert webhook_run.names() == ["C"]

    run_webhook(first, store)
    store.write_events(EventBatch(log_entries=(LogEntry(0, AT, "me", "C", b'{"event":"C"}'),)))
    run_webhook(second, store)


def test_new_webhook_skips_earlier_lines() -> None:
    store = FailingStore()
    store.write_events(EventBatch(log_entries=(LogEntry(0, AT, "me", "old", b'{"event":"old"}'),)))

    async def work(webhook_run: WebhookRun) -> None:
        await webhook_run.log("new")
        await until(lambda: webhook_run.webhook.delivered == 1)
        assert webhook_run.names() == ["new"]

    run_webhook(work, store)


def test_position_before_pruned_lines_is_moved_and_reported() -> None:
    store = FailingStore()
    lines = tuple(LogEntry(0, AT, "me", name, b'{"event":"%s"}' % name.encode()) for name in "abcd")
    store.write_events(EventBatch(values={"hook": b"1"}, log_entries=lines))
    store.prune(Log.EVENTS, 3)

    async def work(webhook_run: WebhookRun) -> None:
        await until(lambda: webhook_run.webhook.delivered == 1 and store.value("hook") == b"4")
        assert (webhook_run.names(), webhook_run.webhook.skipped) == (["d"], 2)
        assert webhook_run.notices == [
            "webhook skipped the log entries 2 to 3, which were pruned before they were delivered"
        ]

    run_webhook(work, store)


@pytest.mark.parametrize("cursor", [b"", b"noon", b"-1", b"\xff"])
def test_damaged_position_begins_with_new_lines(cursor: bytes) -> None:
    store = FailingStore()
    early = LogEntry(0, AT, "me", "early", b"{}")
    store.write_events(EventBatch(values={"hook": cursor}, log_entries=(early,)))

    async def work(webhook_run: WebhookRun) -> None:
        await until(lambda: store.value("hook") == b"1")
        await webhook_run.log("a")
        await until(lambda: webhook_run.names() == ["a"])
        (notice,) = webhook_run.notices
        assert notice.startswith("the stored position of the webhook is damaged")

    run_webhook(work, store)


def test_line_is_tried_four_times_and_then_skipped() -> None:
    async def work(webhook_run: WebhookRun) -> None:
        webhook_run.fails = 3
        await webhook_run.log("A")
        await until(lambda: webhook_run.webhook.delivered == 1)
        assert webhook_run.slept == [1, 2, 4]
        webhook_run.fails = 4
        await webhook_run.log("B", "C")
        await until(lambda: webhook_run.webhook.delivered == 2)
        assert (webhook_run.names(), webhook_run.webhook.failed) == (["A", "C"], 1)
        assert webhook_run.notices == ["webhook skipped event B, not delivered: no"]

    run_webhook(work)


@pytest.mark.parametrize(
    "lack, words",
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
def test_shortage_skips_no_line_however_long_it_lasts(lack: Exception, words: str) -> None:
    async def work(webhook_run: WebhookRun) -> None:
        webhook_run.lacks = [lack] * 20
        await webhook_run.log("A", "B")
        await until(lambda: webhook_run.webhook.delivered == 2)
        assert (webhook_run.names(), webhook_run.webhook.failed) == (["A", "B"], 0)
        assert webhook_run.slept == [5] * 20
        assert webhook_run.notices == [f"webhook waits ({words}); it tries again every 5 s"]

    run_webhook(work)


def test_hanging_delivery_is_given_up() -> None:
    async def work(webhook_run: WebhookRun) -> None:
        async def hang(_: bytes) -> None:
            await asyncio.Event().wait()

        webhook_run.webhook._deliver = hang
        webhook_run.webhook._timeout_s = 0.001
        await webhook_run.log("A")
        await until(lambda: webhook_run.webhook.failed == 1)
        assert webhook_run.notices == [
            "webhook skipped event A, not delivered: no answer within 0.001 s"
        ]

    run_webhook(work)


def test_line_too_far_behind_is_skipped_and_counted() -> None:
    async def work(webhook_run: WebhookRun) -> None:
        await webhook_run.log(*(f"E{number}" for number in range(MOST_BEHIND + 5)))
        await until(lambda: webhook_run.webhook.delivered == MOST_BEHIND)
        assert webhook_run.webhook.skipped == 5
        assert webhook_run.names()[0] == "E5"

    run_webhook(work)


def test_webhook_waits_for_a_failing_store() -> None:
    async def work(webhook_run: WebhookRun) -> None:
        await webhook_run.log("A")
        await until(lambda: webhook_run.webhook.delivered == 1)
        webhook_run.store.fails = {"log_entries"}
        await webhook_run.log("B")
        await until(lambda: webhook_run.webhook.delivered == 2)
        assert webhook_run.names() == ["A", "B"]
        assert webhook_run.notices == ["webhook waits for the store: fleet.db: the disk is full"]

    run_webhook(work)


def test_command_gets_the_line_on_its_stdin(tmp_path: Path) -> None:
    script = tmp_path / "a hook.py"
    script.write_text("import sys; open(sys.argv[1], 'w').write(sys.stdin.read())")
    asyncio.run(run(delivery(f"{sys.executable} '{script}' {tmp_path / 'got'}"), b'{"a":1}'))
    assert (tmp_path / "got").read_text() == '{"a":1}\n'


async def run(deliver: Deliver, body: bytes = b"{}") -> None:
    await deliver(body)


def test_failing_command_is_quoted(tmp_path: Path) -> None:
    script = tmp_path / "hook.py"
    script.write_text("import sys; sys.exit('no room')")
    with pytest.raises(WebhookError, match="ended with 1: no room"):
        asyncio.run(run(delivery(f"{sys.executable} {script}")))


def test_long_output_of_a_command_is_quoted_at_its_end(tmp_path: Path) -> None:
    script = tmp_path / "hook.py"
    script.write_text("import sys; sys.stderr.write('x' * 3000000 + 'the end'); sys.exit(3)")
    with pytest.raises(WebhookError) as caught:
        asyncio.run(run(delivery(f"{sys.executable} {script}")))
    assert len(str(caught.value)) < 5000
    assert str(caught.value).endswith("xthe end")


def test_background_process_of_a_command_is_not_awaited() -> None:
    async def deliver_and_check() -> float:
        begun_s = asyncio.get_running_loop().time()
        await delivery("sh -c 'sleep 4 & exit 0'")(b"{}")
        return asyncio.get_running_loop().time() - begun_s

    assert asyncio.run(deliver_and_check()) < 4, (
        "it ended with the command, not with the process in the background"
    )


def test_missing_command_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        asyncio.run(run(delivery("no-such-command-here")))


def test_command_that_is_given_up_ends_with_its_children(tmp_path: Path) -> None:
    async def deliver_and_check() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await delivery("sh -c 'sleep 1000 & wait'")(b"{}")

    asyncio.run(deliver_and_check())


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        # Without the query: it may be a secret.
        (b"HTTP/1.1 503 No\r\n\r\n", "503"),
        (b"", "no status"),
    ],
)
def test_url_gets_a_post(answer: bytes, error: str) -> None:
    async def deliver_and_check() -> None:
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
            notices = f"http://127.0.0.1:{port} answered with {error}"
            assert str(refused) == notices  # noqa: PT017 - one of the cases has none
        else:
            assert not error
        server.close()
        await server.wait_closed()
        assert got == [
            b"POST /drain?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
            b'Connection: close\r\nContent-Length: 7\r\n\r\n{"a":1}' % port
        ]

    asyncio.run(deliver_and_check())


@pytest.mark.parametrize("target", ["http://", "http://a:b/", "https:///x", "'", " "])
def test_target_that_is_no_command_and_no_url_is_refused(target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        delivery(target)
    assert caught.value.where == "event_hook"


def test_url_with_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        delivery("https://me:hush@drain.example/x")
    assert "hush" not in str(caught.value)
    assert caught.value.hint == "A secret can stand in the path or the query"
