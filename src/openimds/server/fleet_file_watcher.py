"""The fleet file while a server runs: its edits are applied, or said to be bad."""

import asyncio
from collections.abc import Awaitable, Callable

from openimds.config import FleetFileContents, FleetFilePaths, fingerprint, read_fleet
from openimds.errors import Error
from openimds.fleet.store.port import Change

Apply = Callable[[FleetFileContents, str], Awaitable[list[Change]]]
"""Makes of a fleet what its file says now, in somebody's name."""


class FleetFileWatcher:
    """What becomes of a fleet file, or of a folder of them, after the start."""

    def __init__(
        self, fleet: str, seen: bytes, apply: Apply, notify: Callable[[str], None]
    ) -> None:
        """Begin with the fingerprint of the text that is served already."""
        self._fleet, self._seen, self._apply, self._notify = fleet, seen, apply, notify
        self._turn = asyncio.Lock()

    async def look(self) -> None:
        """Apply what the file says now; a bad edit changes nothing and is told."""
        async with self._turn:
            watched = await asyncio.to_thread(FleetFilePaths, self._fleet)
            try:
                now = await asyncio.to_thread(fingerprint, self._fleet)
                if now == self._seen:
                    return  # Only touched: it says nothing new, and changes by the API stay.
                # A scenario that was begun goes on as it was.
                said = await asyncio.to_thread(read_fleet, self._fleet)
                changes = await self._apply(said, watched.who)
                self._seen = now
            except Error as error:
                self._notify(f"{error}; nothing has changed")
                return
        if changes:
            self._notify(f"{watched.path}: {len(changes)} changes applied")

    async def follow(self) -> None:
        """Look after every edit for as long as the system lets us, and say when it does not."""
        try:
            await self._follow()
        except (OSError, RuntimeError) as error:
            self._notify(f"{self._fleet}: {error}; edits are not seen any more")

    async def _follow(self) -> None:
        from watchfiles import awatch  # noqa: PLC0415 - only where there is a file

        watched = await asyncio.to_thread(FleetFilePaths, self._fleet)
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
                await self.look()
