"""The one place that changes go through.

A change is a batch: it happens as a whole or not at all. The store is called in a thread of its
own, one call at a time; the picture changes on the event loop, between two requests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec.json

from openimds.errors import ConfigError
from openimds.fleet.index import FleetIndex
from openimds.fleet.store.port import Change, LogEntry, Store, StoredVm, Write
from openimds.vm.fleet_file import merge_patch
from openimds.vm.fleet_file import vm as read_vm
from openimds.vm.serialize import vm_to_value
from openimds.vm.types import Vm

T = TypeVar("T")

API = "api"
DEFAULT = "default"
"""The origin of the VM that is served when nobody named one; it goes when another one comes."""
_PAGE = 5000
_SLICE = 200


def encode_vm(vm: Vm) -> bytes:
    """Return what the store keeps of a VM; equal VMs have equal bodies."""
    return msgspec.json.encode(vm_to_value(vm), order="sorted")


def decode_vm(stored: StoredVm) -> Vm:
    """Return the VM of what the store keeps.

    Raises:
        ConfigError: the body was written by a release that knew other keys.
    """
    return read_vm(stored.name, msgspec.json.decode(stored.body))


class FleetService:
    """Changes, one after another."""

    def __init__(  # noqa: PLR0913, PLR0917 - what changes go through, and who is told
        self,
        store: Store,
        fleet_index: FleetIndex[Any],
        utc: Callable[[], float],
        open_listeners: Callable[[dict[str, str], AbstractSet[str]], Awaitable[None]],
        on_change: Callable[[AbstractSet[str]], None] = lambda _: None,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Stand between a store and a picture.

        `utc` dates changes and may be set; `now` is a steady clock, where there is another one.
        `open_listeners` is told every listener that shall be there, before a change is written,
        and which others may stay; it raises ConfigError if one cannot be opened. `on_change` is
        told the names of the VMs that are other ones now, or gone.
        """
        self.store, self.fleet_index = store, fleet_index
        self.revision = 0
        self.last_log_entry = 0
        self.utc = utc
        self._steady = now or utc
        self._well_at_s = self._steady()
        self._open_listeners, self._on_change = open_listeners, on_change
        self._thread = ThreadPoolExecutor(1, "store")
        self._turn = asyncio.Lock()
        self._feeds: set[asyncio.Queue[Change | LogEntry | None]] = set()

    async def load(self, *, is_last: bool = True) -> None:
        """Show what the store holds; listeners are opened unless a `sync` is to follow."""
        vms: list[Vm] = []
        after = ""
        while page := await self.call_store(self.store.page, after, _PAGE):
            vms += map(decode_vm, page)
            after = page[-1].name
        self.revision = await self.call_store(self.store.revision)
        step = self.fleet_index.plan(vms)
        if is_last:
            await self._open_listeners(step.listeners, frozenset())
        self.fleet_index.apply(step)

    async def call_store(self, call: Callable[..., T], *arguments: object) -> T:
        """Call the store in its thread, and remember that it answered."""
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._thread, call, *arguments)
        self._well_at_s = self._steady()
        return answer

    def store_age_s(self) -> float:
        """Return how long ago the store last answered."""
        return self._steady() - self._well_at_s

    async def put(self, vm: Vm, who: str, expected: int | None = None) -> tuple[StoredVm, bool]:
        """Make or replace a VM; return it as it is kept now, and whether it is new.

        Raises:
            ConfigError: another VM has its address or listener, or a listener cannot be opened.
            ConflictError: it is not at the expected revision (0: it must not exist yet).
            StoreError: it could not be written.
        """
        async with self._turn:
            return await self._put(vm, who, expected)

    async def patch(
        self, name: str, patch: object, who: str, expected: int | None = None
    ) -> StoredVm | None:
        """Change a VM by a merge patch; return it as it is kept now, or None if there is none.

        Raises:
            ConfigError, ConflictError, StoreError: as `put`.
        """
        async with self._turn:
            stored = await self.call_store(self.store.get, name)
            if stored is None:
                return None
            try:
                merged = merge_patch(msgspec.json.decode(stored.body), patch)
            except RecursionError:
                raise ConfigError("body", "values nested too deeply", "a merge patch") from None
            changed = read_vm(name, merged)
            return (await self._put(changed, who, expected))[0]

    async def _put(self, vm: Vm, who: str, expected: int | None) -> tuple[StoredVm, bool]:
        held = await self.call_store(self.store.get, vm.name)
        # Who owns a VM does not change by changing it, but for the one that nobody asked for.
        origin = held.origin if held and held.origin != DEFAULT else API
        body = encode_vm(vm)
        write = Write(vm.name, body, origin, expected)
        is_new = vm.name not in self.fleet_index.by_name
        gone = await self._defaults() - {vm.name} if is_new else set()
        changes = await self._change([write], [vm], gone, who)
        made = [change for change in changes if change.name == vm.name]
        if made:
            return StoredVm(vm.name, body, made[0].revision, origin), is_new
        assert held is not None  # Nothing had to change, so it was there.
        return held, is_new

    async def remove(self, name: str, who: str, expected: int | None = None) -> bool:
        """Remove a VM; tell whether there was one.

        Raises:
            ConflictError, StoreError: as `put`.
        """
        async with self._turn:
            write = Write(name, None, API, expected)
            return bool(await self._change([write], [], {name}, who))

    async def sync(self, vms: Iterable[Vm], origin: str, who: str) -> list[Change]:
        """Make the VMs of an origin what its file says now; return what that changed.

        VMs of other origins are left alone, but for those that the file names.

        Raises:
            ConfigError, StoreError: as `put`; nothing has changed then.
        """
        async with self._turn:
            wanted = {vm.name: vm for vm in vms}
            held = await self.call_store(self._held)
            made: list[Write] = []
            for number, (name, vm) in enumerate(wanted.items()):
                made.append(Write(name, encode_vm(vm), origin))
                if number % _SLICE == 0:
                    await asyncio.sleep(0)  # Guests are answered between the slices.
            writes = [one for one in made if held.get(one.name) != (one.body, origin)]
            gone = {
                name
                for name, (_, owner) in held.items()
                if name not in wanted and owner in (origin, DEFAULT)
            }
            changed = [wanted[write.name] for write in writes]
            return await self._change(writes, changed, gone, who, origin)

    def _held(self) -> dict[str, tuple[bytes, str]]:
        found: dict[str, tuple[bytes, str]] = {}
        after = ""
        while page := self.store.page(after, _PAGE):
            found.update((one.name, (one.body, one.origin)) for one in page)
            after = page[-1].name
        return found

    async def _defaults(self) -> set[str]:
        """Return the name of the VM that nobody asked for, if it is the only one."""
        only = self.fleet_index.only
        stored = await self.call_store(self.store.get, only.name) if only else None
        return {stored.name} if stored and stored.origin == DEFAULT else set()

    async def _change(
        self, writes: list[Write], vms: list[Vm], gone: set[str], who: str, origin: str = API
    ) -> list[Change]:
        removes = [Write(name, None, origin) for name in gone - {write.name for write in writes}]
        step = self.fleet_index.plan(vms, gone)
        try:
            await self._open_listeners(step.listeners, self.fleet_index.listeners.keys())
            changes = await self.call_store(self.store.write, [*writes, *removes], who, self._now())
        except BaseException:
            await self._open_listeners({}, self.fleet_index.listeners.keys())
            raise
        self.fleet_index.apply(step)
        self._on_change({change.name for change in changes})
        self.revision = max([self.revision, *(change.revision for change in changes)])
        await self._open_listeners(step.listeners, frozenset())
        for feed in self._feeds:
            for change in changes:
                _offer(feed, change)
        return changes

    def _now(self) -> str:
        return datetime.fromtimestamp(self.utc(), UTC).isoformat(timespec="milliseconds")

    def publish(self, log_entry: LogEntry) -> None:
        """Tell the feeds what happened to a scheduled event."""
        self.last_log_entry = log_entry.number
        for feed in self._feeds:
            _offer(feed, log_entry)

    def subscribe(self) -> "asyncio.Queue[Change | LogEntry | None]":
        """Return a feed of changes and happenings from now on; None: some of them were lost."""
        feed: asyncio.Queue[Change | LogEntry | None] = asyncio.Queue(_FEED_LENGTH)
        self._feeds.add(feed)
        return feed

    def unsubscribe(self, feed: "asyncio.Queue[Change | LogEntry | None]") -> None:
        """End a feed."""
        self._feeds.discard(feed)

    def end_feeds(self) -> None:
        """Tell every reader that this is the end."""
        for feed in self._feeds:
            while not feed.empty():
                feed.get_nowait()
            feed.put_nowait(None)

    def close(self) -> None:
        """Wait for the store's last call and close it."""
        self._thread.submit(self.store.close)
        self._thread.shutdown()


_FEED_LENGTH = 1000


def _offer(feed: "asyncio.Queue[Change | LogEntry | None]", change: Change | LogEntry) -> None:
    """Give a change to a feed; a reader who is too slow is told that it must look anew."""
    if feed.qsize() < _FEED_LENGTH - 1:
        feed.put_nowait(change)
    elif not feed.full():
        feed.put_nowait(None)
