"""The hook: a command or a URL that is told everything that happens to scheduled events.

It reads the log behind what it has told already, one line at a time, and notes in the store how far
it is; so it goes on where it was after a restart. A line whose telling was cut short is told again:
whoever must not act twice looks at its `number`. A line that cannot be told is tried again a few
times, then it is left out and counted: events wait for nobody's hook.
"""

import asyncio
import os
import shlex
import signal
import ssl
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import urlsplit

from openimds.errors import ConfigError, Error
from openimds.events.log_format import line
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, LogEntry

TIMEOUT_S = 10.0
WAITS_S = (1.0, 2.0, 4.0)
"""Before each of the attempts that follow the first."""
MOST_BEHIND = 1000
"""So many lines may wait; what is older is left out."""
_NOTE = "hook"
_PAGE = 100
_RETRY_S = 5.0
_LONGEST_SAID = 500

Deliver = Callable[[bytes], Awaitable[None]]
"""Tells one line, or raises HookError or OSError."""


class WebhookError(Error):
    """The other side did not take it."""


class Webhook:
    """Tells a hook what happens; `run` is its task."""

    def __init__(
        self,
        deliver: Deliver,
        fleet_service: FleetService,
        notify: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Call by `deliver` what the store of a desk has in its log."""
        self.told = self.failed = self.left_out = 0
        self._deliver, self._fleet_service, self._notify = deliver, fleet_service, notify
        self._sleep, self._timeout_s = sleep, timeout_s
        self._has_more = asyncio.Event()
        self._at: int | None = None

    def wake(self) -> None:
        """Look at the log: something has happened."""
        self._has_more.set()

    async def run(self) -> None:
        """Tell what happens until the task is cancelled."""
        while True:
            self._has_more.clear()
            try:
                if self._at is None:
                    self._at = await self._begin()
                await self._catch_up(self._at)
            except Error as error:  # The store's: this machine's trouble.
                self._notify(f"the event hook waits: {error}")
                await self._sleep(_RETRY_S)
                continue
            await self._has_more.wait()

    async def _begin(self) -> int:
        """Return the number of the last line that was told; a new hook begins with the next."""
        noted = await self._fleet_service.call_store(self._fleet_service.store.value, _NOTE)
        if noted is None:
            await self._note(self._fleet_service.last_log_entry)
            return self._fleet_service.last_log_entry
        return min(int(noted), self._fleet_service.last_log_entry)

    async def _catch_up(self, at: int) -> None:
        while page := await self._fleet_service.call_store(
            self._fleet_service.store.log_entries, at, _PAGE
        ):
            for one in page:
                behind = self._fleet_service.last_log_entry - one.number
                if behind >= MOST_BEHIND:
                    self.left_out += 1
                else:
                    await self._try(one)
                # Told is told, whether or not the note of it can be written.
                at = self._at = one.number
                # The note is written even if the server ends in this moment.
                await asyncio.shield(self._note(at))

    async def _note(self, at: int) -> None:
        await self._fleet_service.call_store(
            self._fleet_service.store.write_events, EventBatch(values={_NOTE: b"%d" % at})
        )

    async def _try(self, one: LogEntry) -> None:
        said = ""
        for wait_s in (0.0, *WAITS_S):
            if wait_s:
                await self._sleep(wait_s)
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._deliver(line(one))
            except TimeoutError:
                said = f"no answer within {self._timeout_s:g} s"
            except (Error, OSError, ValueError) as error:
                said = str(error)[:_LONGEST_SAID]
            else:
                self.told += 1
                return
        self.failed += 1
        self._notify(f"the event hook failed for event {one.event_id}: {said}")


def delivery(target: str) -> Deliver:
    """Return how a hook is told: a URL by POST, anything else as a command with JSON on stdin.

    Raises:
        ConfigError: it is neither.
    """
    if target.startswith(("http://", "https://")):
        return _by_http(target)
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise ConfigError("event_hook", f'"{target}" ({error})', "a command or a URL") from None
    if not words:
        raise ConfigError("event_hook", f'"{target}"', "a command or a URL")
    return _by_command(words)


def _by_command(words: list[str]) -> Deliver:
    async def deliver(body: bytes) -> None:
        said = _ErrorTail()
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=said.end,
                start_new_session=True,
            )
        except BaseException:
            said.listen()
            said.close()
            raise
        said.listen()
        try:
            await process.communicate(body + b"\n")
        except BaseException:
            # Too slow, or the server ends: what it has started ends with it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        finally:
            text = said.close()
        if process.returncode:
            raise WebhookError(f"{words[0]} ended with {process.returncode}: {text}")

    return deliver


class _ErrorTail:
    """The end of what a command says on stderr, however much it says.

    A pipe of our own: whatever the command leaves running in the background may hold it open, and
    is not waited for.
    """

    def __init__(self) -> None:
        self._from, self.end = os.pipe()
        os.set_blocking(self._from, False)
        self._said = b""

    def listen(self) -> None:
        """Read from now on; the command has its end by now."""
        os.close(self.end)
        asyncio.get_running_loop().add_reader(self._from, self._read)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            piece = os.read(self._from, _CHUNK)
            self._said = (self._said + piece)[-_MOST_WORDS:]
            if not piece:
                asyncio.get_running_loop().remove_reader(self._from)

    def close(self) -> str:
        """Return what was said last, and hear no more."""
        self._read()
        asyncio.get_running_loop().remove_reader(self._from)
        os.close(self._from)
        return self._said.decode(errors="replace").strip()


_CHUNK = 65536
_MOST_WORDS = 4096


def _by_http(url: str) -> Deliver:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    expected = "http://HOST:PORT/PATH, or the same with https"
    if "@" in parts.netloc:
        # It would not be sent, and it is not shown.
        hint = "What proves us can stand in the path or the query"
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
            said = words[1].decode("latin-1").strip() if len(words) > 1 else "no status"
            # Where it is and not all of the URL: a query may be a secret.
            raise WebhookError(f"{parts.scheme}://{parts.netloc} answered with {said}")

    return deliver
