"""The fleet file while a server runs: its edits are applied, or said to be bad."""

import asyncio
from collections.abc import Awaitable, Callable

from openimds.config import Watched, fingerprint, read_fleet
from openimds.errors import Error
from openimds.model.vm import Vm
from openimds.store.port import Change

Apply = Callable[[list[Vm], str], Awaitable[list[Change]]]
"""Makes the VMs of the file what it says now, in somebody's name."""


async def follow(fleet: str, seen: bytes, apply: Apply, tell: Callable[[str], None]) -> None:
    """Watch a fleet file for as long as the system lets us, and say when it does not.

    `seen` is the fingerprint of the text that is served already.
    """
    try:
        await _follow(fleet, seen, apply, tell)
    except (OSError, RuntimeError) as error:
        tell(f"{fleet}: {error}; edits are not seen any more")


async def _follow(fleet: str, seen: bytes, apply: Apply, tell: Callable[[str], None]) -> None:
    """Apply every edit; a bad one changes nothing and is told."""
    from watchfiles import awatch  # noqa: PLC0415 - only where there is a file

    watched = await asyncio.to_thread(Watched, fleet)
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
        if not edits and not is_first:
            continue
        is_first = False
        try:
            now = await asyncio.to_thread(fingerprint, fleet)
            if now == seen:
                continue  # Only touched: it says nothing new, and changes by the API stay.
            # A scenario that was begun goes on as it was.
            vms, _ = await asyncio.to_thread(read_fleet, fleet)
            changes = await apply(vms, watched.who)
            seen = now
        except Error as error:
            tell(f"{error}; nothing has changed")
            continue
        if changes:
            tell(f"{watched.path}: {len(changes)} changes applied")
