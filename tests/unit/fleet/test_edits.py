"""Edits that wait are made together, and each has its own answer."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.fleet.edits import MOST_TOGETHER, Edit, Edited, EditQueue
from openimds.fleet.store.port import Change, ConflictError, StoredVm, StoreError, Write
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm
from tests.unit.admin.setup import AdminServer, with_server


class Maker:
    """Makes edits without a store; names in `bad` are refused, and `fails` fails all."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.bad: set[str] = set()
        self.fails: Exception | None = None
        self.written = 0
        self.began = asyncio.Event()
        self.is_late = False
        """Whether a refusal comes after the store has written."""

    async def __call__(self, edits: Sequence[Edit], who: str) -> list[Edited]:
        names = [edit.name for edit in edits]
        self.batches.append(names)
        self.began.set()
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        if refused := self.bad.intersection(names):
            self.written += self.is_late
            raise ConfigError(min(refused), "x", "y")
        return [Edited(StoredVm(name, b"{}", 1, who), was_there=False) for name in names]


def queue_of(maker: Maker, turn: asyncio.Lock) -> EditQueue:
    return EditQueue(turn, maker, lambda: maker.written)


async def submitted(queue: EditQueue, *edits: tuple[str, str]) -> list[object]:
    """Submit edits (name, author) at once; return the answers or errors."""
    tasks = [queue.submit(Edit(name), who) for name, who in edits]
    return [*await asyncio.gather(*tasks, return_exceptions=True)]


def run(maker: Maker, *edits: tuple[str, str]) -> list[object]:
    async def work() -> list[object]:
        return await submitted(queue_of(maker, asyncio.Lock()), *edits)

    return asyncio.run(work())


def test_edits_that_wait_are_one_batch() -> None:
    maker = Maker()
    answers = run(maker, *((f"vm-{number}", "me") for number in range(MOST_TOGETHER + 1)))
    assert [len(batch) for batch in maker.batches] == [MOST_TOGETHER, 1]
    assert [
        answer.stored.name for answer in answers if isinstance(answer, Edited) and answer.stored
    ] == [f"vm-{number}" for number in range(MOST_TOGETHER + 1)]


def test_authors_and_names_are_kept_apart() -> None:
    maker = Maker()
    run(maker, ("a", "me"), ("b", "me"), ("c", "you"), ("d", "me"), ("d", "me"), ("e", "me"))
    assert maker.batches == [["a", "b", "d", "e"], ["c"], ["d"]]


def test_no_edit_passes_another_of_its_vm() -> None:
    maker = Maker()
    run(maker, ("a", "me"), ("b", "you"), ("b", "me"), ("c", "me"))
    assert maker.batches == [["a", "c"], ["b"], ["b"]]


def test_refused_edit_refuses_no_other() -> None:
    maker = Maker()
    maker.bad = {"b"}
    answers = run(maker, ("a", "me"), ("b", "me"), ("c", "me"))
    assert [type(answer) for answer in answers] == [Edited, ConfigError, Edited]
    assert maker.batches == [["a", "b", "c"], ["a"], ["b", "c"], ["b"], ["c"]]


def test_refusal_after_the_commit_is_the_answer_of_all() -> None:
    maker = Maker()
    maker.bad, maker.is_late = {"b"}, True
    answers = run(maker, ("a", "me"), ("b", "me"))
    assert [type(answer) for answer in answers] == [ConfigError, ConfigError]
    assert maker.batches == [["a", "b"]]


def test_other_work_has_its_turn_between_attempts() -> None:
    maker = Maker()
    maker.bad = {"d"}
    seen: list[int] = []

    async def other(turn: asyncio.Lock) -> None:
        async with turn:
            seen.append(len(maker.batches))

    async def work() -> None:
        turn = asyncio.Lock()
        edits = submitted(queue_of(maker, turn), *((name, "me") for name in "abcd"))
        making = asyncio.create_task(edits)
        await maker.began.wait()
        await other(turn)
        await making

    asyncio.run(work())
    assert seen == [1]
    assert len(maker.batches) == 5


@pytest.mark.parametrize("error", [StoreError("full"), RuntimeError("a fault")])
def test_failure_of_the_store_is_that_of_all(error: Exception) -> None:
    maker = Maker()
    maker.fails = error
    assert run(maker, ("a", "me"), ("b", "me")) == [error, error]
    assert maker.batches == [["a", "b"]]


def test_cancelled_caller_stops_no_edit() -> None:
    maker = Maker()

    async def work() -> None:
        turn = asyncio.Lock()
        queue = queue_of(maker, turn)
        async with turn:
            gone = asyncio.create_task(queue.submit(Edit("a"), "me"))
            kept = asyncio.create_task(queue.submit(Edit("b"), "me"))
            await asyncio.sleep(0)
            gone.cancel()
        assert (await kept).stored == StoredVm("b", b"{}", 1, "me")
        assert gone.cancelled()

    asyncio.run(work())
    assert maker.batches == [["a", "b"]]


def test_edits_at_once_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(server: AdminServer) -> None:
        service, calls = server.fleet_service, list[int]()
        write = server.store.write

        def counted(writes: Sequence[Write], *rest: Any) -> list[Change]:
            calls.append(len(writes))
            return write(writes, *rest)

        monkeypatch.setattr(server.store, "write", counted)
        made = await asyncio.gather(*(service.put(Vm(f"vm-{n}"), "me") for n in range(9)))
        assert [stored.revision for stored, _ in made] == [*range(1, 10)]
        assert calls == [9]
        both = await asyncio.gather(
            service.put(Vm("vm-1"), "me", 99), service.remove("vm-2", "me"), return_exceptions=True
        )
        assert isinstance(both[0], ConflictError)
        assert both[1] is True

    with_server(tmp_path, work)


def test_batch_is_made_as_a_whole_or_not(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        service = server.fleet_service
        size = {"compute": {"vmSize": "S"}}
        await service.put(Vm("old"), "me")
        edits = [
            Edit("old", patch=size, makes=True),
            Edit("new", patch={}, makes=True),
            Edit("gone"),
            Edit("missing", patch=size),
        ]
        made = await service.edit(edits, "me")
        assert [(one.stored and one.stored.revision, one.was_there) for one in made] == [
            (2, True),
            (3, False),
            (None, False),
            (None, False),
        ]
        again = await service.edit(edits[:2], "me")
        assert [(one.stored and one.stored.revision, one.was_there) for one in again] == [
            (2, True),
            (3, True),
        ]
        with pytest.raises(ConflictError):
            await service.edit([Edit("old"), Edit("new", Vm("new"), expected=9)], "me")
        assert server.fleet_index.by_name.keys() == {"old", "new"}

    with_server(tmp_path, work)


def test_large_batch_is_refused_and_a_large_edit_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openimds.fleet.edits.MOST_BYTES", 1000)
    tags = {"compute": {"tags": {"a": "x" * 600}}}

    async def work(server: AdminServer) -> None:
        service = server.fleet_service
        with pytest.raises(ConfigError, match="2 VMs with more than"):
            await service.edit([Edit(name, patch=tags, makes=True) for name in "ab"], "me")
        assert not server.fleet_index.by_name
        both = (service.put(parse_vm(name, tags), "me") for name in "ab")
        assert [is_new for _, is_new in await asyncio.gather(*both)] == [True, True]

    with_server(tmp_path, work)


def test_guests_are_answered_between_large_bodies(tmp_path: Path) -> None:
    tags = {f"t{number}": "x" * 250 for number in range(1000)}

    async def work(server: AdminServer) -> None:
        edits = [Edit(f"vm-{n}", patch={"compute": {"tags": tags}}, makes=True) for n in range(8)]
        making, turns = asyncio.create_task(server.fleet_service.edit(edits, "me")), 0
        while not making.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > len(edits)

    with_server(tmp_path, work)
