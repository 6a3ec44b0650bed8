"""The fleet service: the one place that all changes of the fleet go through.

A change is a batch: it happens as a whole or not at all. The store is called in its own thread, one
call at a time; the fleet index is updated on the event loop, between two requests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.fleet.applied_file import (
    FileComparison,
    batches,
    read_rows,
    read_stored_fleet,
    read_stored_part,
)
from openimds.fleet.change_feed import ChangeFeeds
from openimds.fleet.edits import Edit, EditBatch, Edited, EditQueue
from openimds.fleet.index import FleetIndex, IndexUpdate, Precedence
from openimds.fleet.quarantine import QuarantinedVm, TakenError, quarantined
from openimds.fleet.store.port import (
    API,
    DEFAULT,
    AppliedFile,
    Change,
    LogEntry,
    Store,
    StoredVm,
    StoreError,
    Write,
)
from openimds.fleet.store_trouble import StoreTrouble
from openimds.fleet.stored_bodies import decodable, decode_vm
from openimds.log.events import FLEET_WARNING, VM_RETURNED, VM_UNSERVED
from openimds.vm.claims import refuse_protocol_claims
from openimds.vm.names import old_parts_notice
from openimds.vm.serialize import encode_vm
from openimds.vm.types import Vm

T = TypeVar("T")

_PAGE = 5000
_SLICE = 200
_EDITS = 50
"""So many entries with an edit are read and changed between two requests."""
_SLICE_BYTES = 64 << 10
"""So many octets of bodies are changed between two requests."""


class FleetService:
    """Makes the changes of a fleet, one after another."""

    def __init__(  # noqa: PLR0913, PLR0917 - the store, the index, two clocks and two callbacks
        self,
        store: Store,
        fleet_index: FleetIndex[Any],
        utc: Callable[[], float],
        open_listeners: Callable[[dict[str, str], AbstractSet[str]], Awaitable[None]],
        on_change: Callable[[AbstractSet[str]], None] = lambda _: None,
        now: Callable[[], float] | None = None,
        *,
        unsafe_claims: bool = False,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Connect a store with a fleet index.

        `utc` dates the changes and may be set by the operator; `now` is a steady clock, `utc` if
        None. `open_listeners(wanted, kept)` runs before a change is written: it opens the wanted
        listeners, closes others unless they are in `kept`, and raises ConfigError if it cannot.
        `on_change` receives the names of the VMs that were put or removed. Without
        `unsafe_claims` no change gives an identity a claim that only Entra makes. `notify` receives
        a message when a quarantined VM is served again.
        """
        self.store, self.fleet_index = store, fleet_index
        self.unsafe_claims = unsafe_claims
        self.revision = 0
        self.last_log_entry = 0
        self.utc = utc
        self._steady = now or utc
        self._answered_s = self._steady()
        self._open_listeners, self._on_change = open_listeners, on_change
        self._notify = notify
        self._trouble = StoreTrouble(store, notify, self._steady)
        self.before_change: Callable[[IndexUpdate], Awaitable[None]] | None = None
        """Called with a planned update before it is stored; an error refuses it."""
        self.after_change: Callable[[IndexUpdate], Awaitable[None]] | None = None
        """Called with an update that the index has taken, before its caller gets an answer."""
        self._thread = ThreadPoolExecutor(1, "store")
        self._turn, self._written = asyncio.Lock(), 0
        self._edits = EditQueue(self._turn, self._make, lambda: self._written)
        self.feeds = ChangeFeeds()

    async def load(self, *, is_last: bool = True) -> None:
        """Load the stored fleet into the index; open its listeners unless a `sync` follows.

        A VM that cannot be taken is quarantined.
        """
        after, old = "", set[str]()
        decode = partial(decode_vm, old=old)
        while page := await self.call_store(self.store.page, after, _PAGE):
            # Page by page: an unpacked VM weighs ten times as much as a packed one.
            try:
                update = self.fleet_index.plan(map(decode, page), (), Precedence.PRESENT)
            except ConfigError:
                bad: dict[str, QuarantinedVm] = {}
                update = self.fleet_index.plan(decodable(page, bad, old), (), Precedence.PRESENT)
                update = replace(update, quarantined=bad | update.quarantined)
            self.fleet_index.apply(update)
            after = page[-1].name
        self.revision = await self.call_store(self.store.revision)
        if old:
            self._notify(FLEET_WARNING.message(old_parts_notice(old)))
        if is_last:
            await self.open_listeners()

    async def open_listeners(self) -> None:
        """Open the listeners of the loaded VMs; quarantine those whose listener cannot be."""
        update = await self._without_unopenable(self.fleet_index.plan([]), frozenset())
        self.fleet_index.apply(update)
        if update.quarantined:  # Close the other listeners of their VMs.
            await self._open_listeners(update.listeners, frozenset())

    async def call_store(self, call: Callable[..., T], *arguments: object) -> T:
        """Call the store in its thread and return its answer."""
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._thread, call, *arguments)
        except Exception as error:
            self._trouble.note_failure(error)
            raise
        self._answered_s = self._steady()
        self._trouble.note_answer()
        return answer

    def store_age_s(self) -> float:
        """Return the seconds since the store last answered."""
        return self._steady() - self._answered_s

    async def between_changes(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work while no change of the fleet is under way; changes wait for it."""
        async with self._turn:
            await work()

    async def put(self, vm: Vm, who: str, expected: int | None = None) -> tuple[StoredVm, bool]:
        """Create or replace a VM; return it as stored, and whether it is new.

        Raises:
            ConfigError: another VM has its address or listener, or a listener cannot be opened.
            ConflictError: the VM is not at the expected revision (0: it must not exist yet).
            StoreError: the store failed; nothing has changed.
        """
        edited = await self._edits.submit(Edit(vm.name, vm, expected=expected), who)
        assert edited.stored, "it was put"
        return edited.stored, not edited.was_there

    async def patch(
        self, name: str, patch: object, who: str, expected: int | None = None
    ) -> StoredVm | None:
        """Change a VM by a merge patch; return it as stored, or None if missing.

        Raises:
            ConfigError, ConflictError, StoreError: as `put`.
        """
        edited = await self._edits.submit(Edit(name, patch=patch, expected=expected), who)
        return edited.stored

    async def remove(self, name: str, who: str, expected: int | None = None) -> bool:
        """Remove a VM; return whether it existed.

        Raises:
            ConflictError, StoreError: as `put`.
        """
        return (await self._edits.submit(Edit(name, expected=expected), who)).was_there

    async def edit(self, edits: Sequence[Edit], who: str) -> list[Edited]:
        """Make all edits or none; each name may stand in them once.

        Raises:
            ConfigError, ConflictError, StoreError: as `put`.
        """
        async with self._turn:
            return await self._make(edits, who)

    async def _make(self, edits: Sequence[Edit], who: str) -> list[Edited]:
        index = self.fleet_index
        batch, done = EditBatch(len(edits), self._check), 0
        for part in batches(edits, _EDITS):
            before = await self._stored([edit.name for edit in part if edit.patch is not UNSET])
            for edit in part:
                batch.add(edit, before.get(edit.name))
                if batch.size - done > _SLICE_BYTES:
                    done = batch.size
                    await asyncio.sleep(0)  # Guests are answered between the slices.
            await asyncio.sleep(0)
        puts, removes = batch.puts, batch.removes
        if not batch.writes:
            return [Edited(None, was_there=False) for _ in edits]
        there = {name for name in puts if name in index.by_name or name in index.quarantine}
        if len(there) < len(puts):
            removes |= await self._default_names() - puts.keys()
        changes = await self._change(batch.writes, index.plan(puts.values(), removes), who)
        made = {change.name: change for change in changes}
        stored = await self._stored([name for name in puts if name not in made])
        for name in puts.keys() & made.keys():
            change = made[name]
            assert change.after is not None, "it was put"
            stored[name] = StoredVm(name, change.after, change.revision, change.origin)
        there |= made.keys() - puts.keys()
        return [Edited(stored.get(edit.name), edit.name in there) for edit in edits]

    async def _stored(self, names: Sequence[str]) -> dict[str, StoredVm]:
        """Return those of these VMs that are stored."""
        rows = await self.call_store(self.store.get_many, names) if names else []
        return {row.name: row for row in rows}

    async def sync(  # noqa: PLR0913 - a file, and how it is applied
        self,
        vms: Iterable[Vm],
        origin: str,
        who: str,
        *,
        is_start: bool = False,
        text: bytes = b"",
        gone: AbstractSet[str] | None = None,
    ) -> list[Change]:
        """Apply the VMs of a file, or of another origin; return the changes.

        An entry that is as last applied changes nothing; of another one, the leaves that differ are
        changed in the stored VM. VMs of the origin that are not given are removed, and VMs of other
        origins are left alone. `text` is a digest of the file: where it is that of last time, all
        VMs stay as they are. With `gone`, `vms` are only those whose entries differ from the text
        applied last, and `gone` the names that it had in addition. `vms` is read first, to its end;
        a VM that nothing else holds is freed before its change is written. At the start of a
        server, a VM that claims what a given one has, and is not itself as in the file, is
        quarantined; later, one in quarantine stays there.

        Raises:
            ConfigError, StoreError: as `put`; nothing has changed.
        """
        async with self._turn:
            wanted = {vm.name: vm for vm in vms}
            if gone is None:
                stored = await self.call_store(read_stored_fleet, self.store, origin)
            else:
                some = [*wanted, *gone]
                stored = await self.call_store(read_stored_part, self.store, origin, some)
            file = FileComparison(stored, text, self.fleet_index.quarantine.keys())
            for number, (name, vm) in enumerate(wanted.items()):
                if vm.identities.details:
                    self._check(vm)
                file.add(name, encode_vm(vm))
                if number % _SLICE == 0:
                    await asyncio.sleep(0)  # Guests are answered between the slices.
            for names in batches([*file.unresolved], _EDITS):
                for row in await self.call_store(read_rows, self.store, names):
                    wanted[row.vm.name] = file.resolve(row, wanted[row.vm.name])
            for notice in file.notices:
                self._notify(FLEET_WARNING.message(notice))
            precedence = Precedence.PLANNED if is_start else Precedence.REFUSED
            writes = [*file.writes, *file.others]
            puts = (wanted[write.name] for write in writes)
            firm = frozenset(file.firm) if is_start else frozenset()
            file.end(wanted.keys())
            applied = None if file.is_recorded else AppliedFile(origin, text, file.entries)
            removed = stored.removed(wanted.keys())
            changed = {write.name for write in file.others}
            yielding = changed if is_start else changed & self.fleet_index.quarantine.keys()
            update = self.fleet_index.plan(puts, removed, precedence, firm, yielding)
            wanted.clear()
            if yielding and not is_start:
                firm = frozenset(update.puts.keys() | self.fleet_index.by_name.keys()) - yielding
            if is_start or yielding:
                update = await self._without_unopenable(update, firm)
            return await self._change(writes, update, who, origin, applied)

    def _check(self, vm: Vm) -> None:
        if not self.unsafe_claims:
            refuse_protocol_claims(vm)

    async def _default_names(self) -> set[str]:
        """Return the name of the default VM, if it is the only VM."""
        names = self.fleet_index.by_name
        only = next(iter(names)) if len(names) == 1 else ""
        stored = await self.call_store(self.store.get, only) if only else None
        return {stored.name} if stored and stored.origin == DEFAULT else set()

    async def _change(
        self,
        writes: list[Write],
        update: IndexUpdate,
        who: str,
        origin: str = API,
        applied: AppliedFile | None = None,
    ) -> list[Change]:
        written = {write.name for write in writes}
        removes = [Write(name, None, origin) for name in update.removes - written]
        try:
            await self._open_listeners(update.listeners, self.fleet_index.listeners.keys())
            if self.before_change:
                await self.before_change(update)
            batch = [*writes, *removes]
            changes = await self.call_store(self.store.write, batch, who, self._now(), applied)
        except BaseException:
            await self._open_listeners({}, self.fleet_index.listeners.keys())
            raise
        self._written += 1
        self.fleet_index.apply(update)
        if self.after_change:
            await self.after_change(update)
        self._on_change({change.name for change in changes})
        self.revision = max([self.revision, *(change.revision for change in changes)])
        await self._open_listeners(update.listeners, frozenset())
        if self.feeds.readers:
            self.feeds.offer(changes)
        await self._return_quarantined()
        return changes

    async def _take(self, update: IndexUpdate) -> None:
        """Serve an update here, and where guests are served."""
        self.fleet_index.apply(update)
        if self.after_change:
            await self.after_change(update)

    async def return_quarantined(self) -> None:
        """Serve the quarantined VMs whose addresses and listeners are free."""
        async with self._turn:
            await self._return_quarantined()

    async def _return_quarantined(self) -> None:
        index = self.fleet_index
        for name in index.returnable():
            sentence = f"{name} is served again: what it claims is free"
            try:
                stored = await self.call_store(self.store.get, name)
                if stored is None:
                    continue
                update = index.plan([decode_vm(stored)])
                await self._open_listeners(update.listeners, index.listeners.keys())
            except ConfigError as error:
                # Another VM has another claim of it, or its listener cannot be opened yet.
                await self._open_listeners({}, index.listeners.keys())
                absent, sentence = quarantined(name, error), ""
                if absent == index.quarantine.get(name):
                    continue
                update = replace(index.plan([]), quarantined={name: absent})
            except StoreError as error:
                self._notify(
                    VM_UNSERVED.message(
                        f"{name} is still not served: {error}", vm=name, reason=str(error)
                    )
                )
                continue
            await self._take(update)
            if sentence:
                self._notify(VM_RETURNED.message(sentence, vm=name))

    async def _without_unopenable(self, update: IndexUpdate, firm: AbstractSet[str]) -> IndexUpdate:
        """Open the listeners of an update; quarantine the VMs whose listener cannot be opened.

        Raises:
            ConfigError: it is the listener of a VM in `firm`.
        """
        while True:
            try:
                await self._open_listeners(update.listeners, self.fleet_index.listeners.keys())
            except TakenError as error:
                if error.name in firm:
                    await self._open_listeners({}, self.fleet_index.listeners.keys())
                    raise
                left = {text: name for text, name in update.listeners.items() if name != error.name}
                puts = {name: vm for name, vm in update.puts.items() if name != error.name}
                absent = update.quarantined | {error.name: quarantined(error.name, error)}
                update = replace(update, puts=puts, listeners=left, quarantined=absent)
            else:
                return update

    def _now(self) -> str:
        return datetime.fromtimestamp(self.utc(), UTC).isoformat(timespec="milliseconds")

    def publish(self, log_entry: LogEntry) -> None:
        """Feed a log entry of scheduled events to the subscribers."""
        self.last_log_entry = log_entry.number
        self.feeds.offer([log_entry])

    def close(self) -> None:
        """Close the store after its last call."""
        self._thread.submit(self.store.close)
        self._thread.shutdown()
