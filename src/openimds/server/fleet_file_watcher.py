"""Apply edits of the fleet file, or folder of them, to a running server."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from openimds.errors import Error
from openimds.fleet.fleet_files import FILE_ENDINGS, FleetFileContents, fingerprint, read_fleet
from openimds.fleet.store.port import Change

Apply = Callable[[FleetFileContents, str], Awaitable[list[Change]]]
"""Applies the contents of a fleet file in the name of an author."""


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

    def __init__(
        self, fleet: str, seen: bytes, apply: Apply, notify: Callable[[str], None]
    ) -> None:
        """Start from `seen`, the fingerprint of the text that is served already."""
        self._fleet, self._seen, self._apply, self._notify = fleet, seen, apply, notify
        self._lock = asyncio.Lock()

    async def apply_edits(self) -> None:
        """Apply the file's present text; a bad edit changes nothing and is reported."""
        async with self._lock:
            watched = await asyncio.to_thread(WatchedPath, self._fleet)
            try:
                now = await asyncio.to_thread(fingerprint, self._fleet)
                if now == self._seen:
                    return  # Touched without an edit: changes by the API stay.
                # The scenario in the file is not begun again: it goes on as it was.
                contents = await asyncio.to_thread(read_fleet, self._fleet)
                changes = await self._apply(contents, watched.author)
                self._seen = now
            except Error as error:
                self._notify(f"fleet file not applied: {error}; the previous fleet is still served")
                return
        if changes:
            self._notify(f"{watched.path}: {len(changes)} changes applied")

    async def follow(self) -> None:
        """Look after every edit; report when the system can watch the folder no longer."""
        try:
            await self._follow()
        except (OSError, RuntimeError) as error:
            self._notify(
                f"{self._fleet}: cannot be watched ({error}); further edits are ignored. "
                + (
                    "Send SIGHUP to apply them"
                    if hasattr(signal, "SIGHUP")
                    else "Restart the server"
                )
            )

    async def _follow(self) -> None:
        from watchfiles import awatch  # noqa: PLC0415 - only where there is a file

        watched = await asyncio.to_thread(WatchedPath, self._fleet)
        is_first = True
        async for edits in awatch(
            watched.folder,
            watch_filter=watched.has,
            recursive=False,
            debounce=100,
            step=20,
            rust_timeout=1000,
            yield_on_timeout=True,
        ):
            # The first look is for an edit that was made before the watching began.
            if edits or is_first:
                is_first = False
                await self.apply_edits()
