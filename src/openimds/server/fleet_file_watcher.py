"""Apply edits of the fleet file, or folder of them, to a running server.

A mistake in the file waits for the next edit. An edit that fails because the system has no file
descriptor or thread left, or because the store fails, is tried again until it is applied.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from openimds.errors import Error, shortage
from openimds.fleet.fleet_files import FILE_ENDINGS, FleetFileContents, fingerprint, read_fleet
from openimds.fleet.store.port import Change, StoreError

Apply = Callable[[FleetFileContents, str], Awaitable[list[Change]]]
"""Applies the contents of a fleet file in the name of an author."""
Watch = Callable[["WatchedPath"], AsyncIterator[object]]
"""Yields the edits of a watched path, and nothing (an empty value) once a second."""
RETRY_TICKS = 5
"""Seconds until an edit is tried again."""
RETRY_WATCH_S = 5.0
"""The time until watching is tried again; meanwhile the file is compared as often."""


class WatchedPath:
    """The folder to watch for edits of a fleet file or a folder."""

    def __init__(self, fleet: str) -> None:
        """Find the folder to watch."""
        self.path = Path(fleet).absolute()
        self.folder = self.path if self.path.is_dir() else self.path.parent
        self.author = f"file {self.path.name}"

    def has(self, _change: object, changed: str) -> bool:
        """Tell whether a changed path may concern the fleet file.

        Names that begin with two dots are Kubernetes' swaps of a mounted volume.
        """
        name = Path(changed).name
        if name.startswith(".."):
            return True
        return name.endswith(FILE_ENDINGS) if self.folder == self.path else name == self.path.name


class FleetFileWatcher:
    """Applies edits of a fleet file, or of a folder of them."""

    def __init__(  # noqa: PLR0913, PLR0917 - the file, its server, and the world of a test
        self,
        fleet: str,
        seen: bytes,
        apply: Apply,
        notify: Callable[[str], None],
        watch: Watch | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Start from `seen`, the fingerprint of the text that is served already.

        `watch` is the system's way to watch a folder by default; `sleep` waits for seconds.
        """
        self._fleet, self._seen, self._apply, self._notify = fleet, seen, apply, notify
        self._watch, self._sleep = watch or _edits, sleep
        self._lock = asyncio.Lock()
        self._failure = ""
        self._ticks = 0
        """Ticks until an edit is tried again; 0 if none waits."""

    async def apply_edits(self, *, is_retry: bool = False) -> None:
        """Apply the file's present text; a bad edit changes nothing and is reported.

        With `is_retry` the same failure is not reported again.
        """
        async with self._lock:
            self._ticks = 0
            try:
                watched = await asyncio.to_thread(WatchedPath, self._fleet)
                now = await asyncio.to_thread(fingerprint, self._fleet)
                if now == self._seen:
                    return  # Touched without an edit: changes by the API stay.
                # The scenario in the file is not begun again: it goes on as it was.
                contents = await asyncio.to_thread(read_fleet, self._fleet)
                changes = await self._apply(contents, watched.author)
            except (Error, OSError, ImportError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and shortage(error) is None:
                    raise
                self._report(error, is_retry=is_retry)
                return
            self._seen, self._failure = now, ""
        if changes:
            self._notify(f"{watched.path}: {len(changes)} changes applied")

    def _report(self, error: Exception, *, is_retry: bool) -> None:
        passes = isinstance(error, StoreError) or shortage(error) is not None
        if passes:
            self._ticks = RETRY_TICKS
        before, self._failure = self._failure, str(error)
        if not is_retry or self._failure != before:
            self._notify(
                f"fleet file not applied: {error}; the previous fleet is still served"
                + (f", and the edit is tried again every {RETRY_TICKS} s" if passes else "")
            )

    async def follow(self) -> None:
        """Look after every edit; where the system cannot watch the folder, now and then."""
        is_reported = False
        while True:
            try:
                await self._follow()
            except (OSError, RuntimeError, ImportError) as error:
                if not is_reported:
                    is_reported = True
                    self._notify(
                        f"{self._fleet}: cannot be watched ({error}); until it can be, it is read "
                        f"every {RETRY_WATCH_S:g} s"
                    )
            else:
                return  # The server ends.
            await self.apply_edits(is_retry=True)
            await self._sleep(RETRY_WATCH_S)

    async def _follow(self) -> None:
        watched = await asyncio.to_thread(WatchedPath, self._fleet)
        is_first = True
        async for edits in self._watch(watched):
            # The first look is for an edit that was made before the watching began.
            if edits or is_first:
                is_first = False
                await self.apply_edits(is_retry=not edits)
            elif self._ticks:
                self._ticks -= 1
                if not self._ticks:
                    await self.apply_edits(is_retry=True)


def _edits(watched: WatchedPath) -> AsyncIterator[object]:
    from watchfiles import awatch  # noqa: PLC0415 - only where there is a file

    return awatch(
        watched.folder,
        watch_filter=watched.has,
        recursive=False,
        debounce=100,
        step=20,
        rust_timeout=1000,
        yield_on_timeout=True,
    )
