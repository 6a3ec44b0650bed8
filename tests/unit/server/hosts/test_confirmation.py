"""The look into the store before many VMs are removed from a host."""

import asyncio
from collections.abc import Sequence

from openimds.fleet.store.port import StoredVm, Write
from openimds.fleet.store.sqlite import MemoryStore
from openimds.server.hosts.confirmation import NAMES_AT_ONCE, stored_on
from tests.unit.server.hosts.fleet import ControlSide, until

COUNT = 5 * NAMES_AT_ONCE + 1


class WatchedStore(MemoryStore):
    """A store that notes the reads of many, and the other calls between them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def get_many(self, names: Sequence[str]) -> list[StoredVm]:
        self.calls.append(len(names))
        return super().get_many(names)

    def revision(self) -> int:
        self.calls.append(0)
        return super().revision()


def test_many_vms_are_confirmed_in_parts_between_other_calls() -> None:
    async def whole() -> None:
        store = WatchedStore()
        control, names = ControlSide(store), [f"vm-{number}" for number in range(COUNT)]
        body = {"vm-1": b"{", "vm-2": b'{"host":"b"}'}
        store.write([Write(n, body.get(n, b'{"host":"a"}'), "api") for n in names], "t", "now")
        service = control.control.fleet_service
        asking = asyncio.create_task(stored_on(service, {*names, "none"}, "a"))
        await until(lambda: bool(store.calls))
        await service.call_store(store.revision)
        found = await asking
        assert found == {*names} - {"vm-1", "vm-2"}
        assert sum(store.calls) == COUNT + 1
        assert max(store.calls) == NAMES_AT_ONCE
        assert 0 < store.calls.index(0) < len(store.calls) - 1
        await control.close()

    asyncio.run(whole())
