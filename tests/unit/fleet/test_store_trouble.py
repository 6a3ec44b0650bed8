"""Trouble of a store is logged when it begins and when it ends."""

from pathlib import Path

import pytest

from openimds.fleet.store.port import StoreError
from openimds.fleet.store.sqlite import MemoryStore
from openimds.fleet.store_trouble import StoreTrouble
from openimds.log.event import LogMessage
from openimds.log.events import STORE_RECOVERED, STORE_REFUSES
from openimds.vm.types import Vm
from tests.unit.admin.setup import AdminServer, with_server


class RefusingStore(MemoryStore):
    """A store that knows why it takes no change."""

    refusal = ""


def test_trouble_is_logged_once_until_it_ends(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.store.fails.add("write")
        for _ in range(2):
            with pytest.raises(StoreError):
                await server.fleet_service.put(Vm("a"), "me")
        begun = server.notices[0]
        assert isinstance(begun, LogMessage)
        assert (begun.event, begun.fields) == (
            STORE_REFUSES,
            {"reason": "fleet.db: the disk is full"},
        )
        server.store.fails.clear()
        await server.fleet_service.put(Vm("a"), "me")
        ended = server.notices[-1]
        assert isinstance(ended, LogMessage)
        assert ended.event is STORE_RECOVERED

    with_server(tmp_path, work)


def test_refusal_of_the_store_lasts_while_reads_succeed() -> None:
    store, messages, now_s = RefusingStore(), list[str](), [0.0]
    trouble = StoreTrouble(store, messages.append, lambda: now_s[0])
    trouble.note_answer()
    store.refusal = "disk full"
    trouble.note_failure(StoreError("write"))
    trouble.note_answer()
    trouble.note_failure(StoreError("another"))
    now_s[0] = 7.0
    store.refusal = ""
    trouble.note_answer()
    assert messages == [
        "the store takes no change: disk full. The fleet is served as it is",
        "the store takes changes again, after 7 s",
    ]


def test_refusal_of_the_start_is_not_logged_twice() -> None:
    store, messages = RefusingStore(), list[str]()
    store.refusal = "read-only"
    trouble = StoreTrouble(store, messages.append, lambda: 0.0)
    trouble.note_answer()
    assert messages == []


def test_other_errors_are_no_trouble_of_the_store() -> None:
    messages = list[str]()
    trouble = StoreTrouble(MemoryStore(), messages.append, lambda: 0.0)
    trouble.note_failure(ValueError("x"))
    assert messages == []
