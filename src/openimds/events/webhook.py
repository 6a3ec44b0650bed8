"""The webhook: a command or a URL that receives the log of scheduled events.

It delivers the log one line at a time, and stores a cursor after each; so it resumes there after a
restart. A line whose delivery was interrupted is delivered again: a receiver that must not act
twice compares its `number`. A line that cannot be delivered is retried a few times, then skipped
and counted: events never wait for a webhook. Tries that fail because this system has no file
descriptor, memory or thread left are not counted among them.
"""

import asyncio
import os
import shlex
import signal
import ssl
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

from openimds.errors import ConfigError, Error, shortage
from openimds.events.log_format import line
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, Log, LogEntry
from openimds.log.events import HOOK_TROUBLE

TIMEOUT_S = 10.0
WAITS_S = (1.0, 2.0, 4.0)
"""Before each of the attempts that follow the first."""
MOST_BEHIND = 1000
"""The most lines that may wait; older ones are skipped."""
_CURSOR = "hook"
"""The key of the cursor in the store."""
_PAGE = 100
_RETRY_S = 5.0
_LONGEST_REASON = 500

Deliver = Callable[[bytes], Awaitable[None]]
"""Delivers one line, or raises WebhookError or OSError."""


class WebhookError(Error):
    """The receiver did not accept a line."""


class Webhook:
    """Delivers the log of events; `run` is its task."""

    def __init__(
        self,
        deliver: Deliver,
        fleet_service: FleetService,
        notify: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Pass every line of the log in the store of a fleet to `deliver`."""
        self.delivered = self.failed = self.skipped = 0
        self._deliver, self._fleet_service, self._notify = deliver, fleet_service, notify
        self._sleep, self._timeout_s = sleep, timeout_s
        self._has_more = asyncio.Event()
        self._at: int | None = None

    @property
    def waiting(self) -> int:
        """The number of lines that the receiver has not taken yet."""
        return 0 if self._at is None else self._fleet_service.last_log_entry - self._at

    def wake(self) -> None:
        """Read the log: it has a new line."""
        self._has_more.set()

    async def run(self) -> None:
        """Deliver lines until the task is cancelled."""
        while True:
            self._has_more.clear()
            try:
                if self._at is None:
                    self._at = await self._begin()
                await self._catch_up(self._at)
            except Error as error:  # The store cannot be read or written.
                self._notify(HOOK_TROUBLE.message(f"webhook waits for the store: {error}"))
                await self._sleep(_RETRY_S)
                continue
            await self._has_more.wait()

    async def _begin(self) -> int:
        """Return the number of the last delivered line; a new webhook begins with the next."""
        cursor = await self._fleet_service.call_store(self._fleet_service.store.value, _CURSOR)
        if cursor is not None and not cursor.isdigit():
            self._notify(
                HOOK_TROUBLE.message(
                    "the stored position of the webhook is damaged: it begins with new events"
                )
            )
            cursor = None
        if cursor is None:
            await self._save(self._fleet_service.last_log_entry)
            return self._fleet_service.last_log_entry
        return min(int(cursor), self._fleet_service.last_log_entry)

    async def _skip_pruned(self, at: int) -> int:
        """Return the position, behind lines that were pruned before their delivery."""
        span = await self._fleet_service.call_store(self._fleet_service.store.span, Log.EVENTS)
        if at >= span.pruned:
            return at
        self.skipped += span.pruned - at
        self._notify(
            HOOK_TROUBLE.message(
                f"webhook skipped the log entries {at + 1} to {span.pruned}, which were pruned "
                "before "
                "they were delivered"
            )
        )
        await self._save(span.pruned)
        return span.pruned

    async def _catch_up(self, at: int) -> None:
        at = self._at = await self._skip_pruned(at)
        while page := await self._fleet_service.call_store(
            self._fleet_service.store.log_entries, at, _PAGE
        ):
            for entry in page:
                behind = self._fleet_service.last_log_entry - entry.number
                if behind >= MOST_BEHIND:
                    self.skipped += 1
                else:
                    await self._try(entry)
                # Advance even if saving the cursor fails; the line was delivered.
                at = self._at = entry.number
                # The cursor is stored even if the server ends in this moment.
                await asyncio.shield(self._save(at))

    async def _save(self, at: int) -> None:
        await self._fleet_service.call_store(
            self._fleet_service.store.write_events, EventBatch(values={_CURSOR: b"%d" % at})
        )

    async def _try(self, entry: LogEntry) -> None:
        reason = ""
        for wait_s in (0.0, *WAITS_S):
            if wait_s:
                await self._sleep(wait_s)
            try:
                await self._deliver_after_shortages(entry)
            except TimeoutError:
                reason = f"no answer within {self._timeout_s:g} s"
            except (Error, OSError, ValueError) as error:
                reason = str(error)[:_LONGEST_REASON]
            else:
                self.delivered += 1
                return
        self.failed += 1
        self._notify(
            HOOK_TROUBLE.message(f"webhook skipped event {entry.event_id}, not delivered: {reason}")
        )

    async def _deliver_after_shortages(self, entry: LogEntry) -> None:
        """Deliver a line; try again for as long as a shortage prevents it."""
        is_reported = False
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._deliver(line(entry))
            except (Error, OSError, ValueError, ImportError, RuntimeError) as error:
                lack = shortage(error)
                if lack is None:
                    raise
                if not is_reported:
                    is_reported = True
                    self._notify(
                        HOOK_TROUBLE.message(
                            f"webhook waits ({lack.strerror}); it tries again every {_RETRY_S:g} s"
                        )
                    )
                await self._sleep(_RETRY_S)
            else:
                return


def delivery(target: str) -> Deliver:
    """Return the delivery to a URL (POST) or a command (JSON on stdin).

    Raises:
        ConfigError: the target is neither.
    """
    if target.startswith(("http://", "https://")):
        return _by_http(target)
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise ConfigError("event_hook", f'"{target}" ({error})', "a command or a URL") from None
    if not words:
        raise ConfigError("event_hook", f'"{target}"', "a command or a URL")
    if not hasattr(os, "killpg"):
        expected = "a URL: this system does not end the processes of a command together"
        raise ConfigError("event_hook", f'the command "{words[0]}"', expected)
    return _by_command(words)


def _by_command(words: list[str]) -> Deliver:
    async def deliver(body: bytes) -> None:
        tail = _ErrorTail()
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=tail.end,
                start_new_session=True,
            )
        except BaseException:
            tail.listen()
            tail.close()
            raise
        tail.listen()
        try:
            await process.communicate(body + b"\n")
        except BaseException:
            # Too slow, or the server ends: the processes that it has started end with it.
            _kill_group(process.pid)
            await process.wait()
            raise
        finally:
            text = tail.close()
        if process.returncode:
            raise WebhookError(f"{words[0]} ended with {process.returncode}: {text}")

    return deliver


def _kill_group(leader: int) -> None:
    """Kill a process and those that it started."""
    if sys.platform != "win32":  # `delivery` refuses commands there.
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)


class _ErrorTail:
    """The end of a command's output on stderr, of any length.

    This pipe may be held open by processes that the command leaves in the background; nothing
    waits for them.
    """

    def __init__(self) -> None:
        self._from, self.end = os.pipe()
        if hasattr(os, "set_blocking"):
            os.set_blocking(self._from, False)
        self._tail = b""

    def listen(self) -> None:
        """Read from now on; the command has inherited its end."""
        os.close(self.end)
        asyncio.get_running_loop().add_reader(self._from, self._read)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            piece = os.read(self._from, _CHUNK)
            self._tail = (self._tail + piece)[-_LONGEST_TAIL:]
            if not piece:
                asyncio.get_running_loop().remove_reader(self._from)

    def close(self) -> str:
        """Return the last output, and stop reading."""
        self._read()
        asyncio.get_running_loop().remove_reader(self._from)
        os.close(self._from)
        return self._tail.decode(errors="replace").strip()


_CHUNK = 65536
_LONGEST_TAIL = 4096


def _by_http(url: str) -> Deliver:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    expected = "http://HOST:PORT/PATH, or the same with https"
    if "@" in parts.netloc:
        # The user would not be sent, and is not shown.
        hint = "A secret can stand in the path or the query"
        raise ConfigError("event_hook", "a URL with a user in it", expected, hint)
    if not parts.hostname or port == 0:
        raise ConfigError("event_hook", f'"{url}"', expected)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    is_tls = parts.scheme == "https"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\nContent-Length: "
    )

    async def deliver(body: bytes) -> None:
        reader, writer = await asyncio.open_connection(
            parts.hostname,
            port or (443 if is_tls else 80),
            ssl=ssl.create_default_context() if is_tls else None,
        )
        try:
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            words = (await reader.readline()).split(b" ", 2)
        finally:
            writer.close()
        if len(words) < 2 or not words[1].startswith(b"2"):  # noqa: PLR2004 - version and status
            status = words[1].decode("latin-1").strip() if len(words) > 1 else "no status"
            # Only scheme and host of the URL: a query may be a secret.
            raise WebhookError(f"{parts.scheme}://{parts.netloc} answered with {status}")

    return deliver
