"""Edits of VMs by name: those that wait are made together.

A commit takes as long for a hundred VMs as for one. So the edits of one author that arrive while
another write is under way form the next batch. Each edit has its own answer: a refused batch is
halved until the edits that do not fit stand alone. Where the store fails, or an error comes after
the commit, that is the answer of all: a second attempt would not know what was written.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from msgspec import UNSET, Struct, UnsetType

from openimds.errors import ConfigError, Error
from openimds.fleet.store.port import API, DEFAULT, StoredVm, StoreError, Write
from openimds.fleet.stored_bodies import patched
from openimds.vm.serialize import encode_vm
from openimds.vm.types import Vm

MOST_TOGETHER = 200
"""The most edits in one batch: each of them waits for all."""
MOST_BYTES = 32 << 20
"""The most octets of the bodies of a batch; a single edit may have more."""
_REPLACED = frozenset({DEFAULT})
"""A change by the API replaces this origin with its own, and keeps every other."""


class Edit(Struct, frozen=True):
    """A change of one VM.

    `vm` replaces it, `patch` merges into it; without both it is removed. `expected` is the revision
    to replace, 0 for a new VM, None for any. With `makes`, a patch of a missing VM makes it.
    """

    name: str
    vm: Vm | None = None
    patch: object | UnsetType = UNSET
    expected: int | None = None
    makes: bool = False


class Edited(Struct, frozen=True):
    """The result of an edit: the VM as stored now, and whether it existed."""

    stored: StoredVm | None
    was_there: bool


Make: TypeAlias = Callable[[Sequence[Edit], str], Awaitable[list[Edited]]]
"""Makes all edits or none; each name stands in them once."""


class EditBatch:
    """The writes of some edits, and the VMs that they put and remove."""

    def __init__(self, edits: int, check: Callable[[Vm], None]) -> None:
        """Begin for a number of edits; `check` refuses identities that may not be made."""
        self._edits, self._check = edits, check
        self.writes: list[Write] = []
        self.puts: dict[str, Vm] = {}
        self.removes: set[str] = set()
        self.size = 0
        """The octets of the bodies to put."""

    def add(self, edit: Edit, before: StoredVm | None) -> None:
        """Add an edit; `before` is the VM that its patch changes.

        Raises:
            ConfigError: it does not fit, or the bodies are too large together.
        """
        name, vm = edit.name, edit.vm
        if edit.patch is not UNSET and (edit.makes or before):
            vm = patched(name, before, edit.patch)
        if vm is None:
            if edit.patch is UNSET:
                self.removes.add(name)
                self.writes.append(Write(name, None, API, edit.expected))
            return
        if vm.identities.details:
            self._check(vm)
        body = encode_vm(vm)
        self.size += len(body)
        if self.size > MOST_BYTES and self._edits > 1:
            seen = f"{self._edits} VMs with more than {MOST_BYTES >> 20} MiB together"
            raise ConfigError("body", seen, "smaller ones", "Send several requests")
        self.puts[name] = vm
        self.writes.append(Write(name, body, API, edit.expected, _REPLACED))


class _Waiting(Struct, frozen=True):
    edit: Edit
    who: str
    answer: asyncio.Future[Edited]


class EditQueue:
    """The edits that wait; their callers wait too, and bound their number."""

    def __init__(self, turn: asyncio.Lock, make: Make, written: Callable[[], int]) -> None:
        """Make edits while `turn` is held; `written` counts the writes that the store has made."""
        self._turn, self._make, self._written = turn, make, written
        self._waiting: deque[_Waiting] = deque()
        self._making: asyncio.Task[None] | None = None

    async def submit(self, edit: Edit, who: str) -> Edited:
        """Make an edit; a cancelled caller does not stop it.

        Raises:
            ConfigError, ConflictError, StoreError: it cannot be made, and nothing has changed.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(edit, who, answer))
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._run())
        return await asyncio.shield(answer)

    async def _run(self) -> None:
        while self._waiting:
            async with self._turn:  # More edits arrive until it is free.
                rest = await self._tried(self._next())
            while rest:
                # Other work has its turn between the attempts.
                async with self._turn:
                    rest = [*await self._tried(rest[0]), *rest[1:]]

    def _next(self) -> list[_Waiting]:
        """Take the first edit, and others of its author that pass none of their VM."""
        first = self._waiting.popleft()
        group, names, passed = [first], {first.edit.name}, list[_Waiting]()
        while self._waiting and len(group) < MOST_TOGETHER:
            waiting = self._waiting.popleft()
            fits = waiting.who == first.who and waiting.edit.name not in names
            (group if fits else passed).append(waiting)
            names.add(waiting.edit.name)
        self._waiting.extendleft(reversed(passed))
        return group

    async def _tried(self, group: list[_Waiting]) -> list[list[_Waiting]]:
        """Make edits and answer them; return the halves of a batch that was refused."""
        written = self._written()
        try:
            made = await self._make([waiting.edit for waiting in group], group[0].who)
        except Exception as error:  # noqa: BLE001 - the callers get it
            is_refusal = isinstance(error, Error) and not isinstance(error, StoreError)
            if is_refusal and len(group) > 1 and self._written() == written:
                half = len(group) // 2
                return [group[:half], group[half:]]
            for waiting in group:
                waiting.answer.set_exception(error)
                waiting.answer.exception()  # It counts as retrieved where the caller has gone.
        else:
            for waiting, edited in zip(group, made, strict=True):
                waiting.answer.set_result(edited)
        return []
