"""The counts of requests in the table of VMs, and how seldom they are read."""

import asyncio
from typing import cast

from openimds.admin.page import vm_traffic
from openimds.admin.page.vm_traffic import TrafficReader, VmTraffic
from openimds.admin.services import RequestRecording
from openimds.protocol.lint import Record
from tests.unit.protocol.lint.records import a_record


class CountedRecording:
    """Records of VMs, and the calls that read them."""

    is_of_hosts, per_vm, clears = False, 1000, 0

    def __init__(self) -> None:
        self.all: list[Record] = []
        self.calls: list[tuple[str | None, int]] = []
        self.number = 0

    def add(self, *vms: str) -> None:
        for vm in vms:
            self.number += 1
            self.all.append(a_record(vm=vm, number=self.number))

    def clear(self) -> None:
        self.all, self.clears = [], self.clears + 1

    async def last_number(self) -> int:
        return self.number

    async def records(self, vm: str | None = None, since: int = 0) -> tuple[Record, ...]:
        self.calls.append((vm, since))
        await asyncio.sleep(0)  # As a host in another process: other readers go on meanwhile.
        return tuple(one for one in self.all if vm in {None, one.vm} and one.number > since)


def test_few_new_requests_read_their_vms_again() -> None:
    async def work() -> None:
        recording = CountedRecording()
        reader = TrafficReader(cast("RequestRecording", recording), lambda: 0.0)

        async def counts() -> dict[str, int]:
            recording.calls.clear()
            found = await reader.read(["a", "b"])
            return {name: one.requests for name, one in found.items()}

        recording.add("a")
        assert await counts() == {"a": 1, "b": 0}
        assert await counts() == {"a": 1, "b": 0}
        assert recording.calls == []
        recording.add("b", "")
        assert await counts() == {"a": 1, "b": 1}
        assert recording.calls == [(None, 1), ("b", 0)]

    asyncio.run(work())


def test_many_new_requests_are_counted_by_and_by() -> None:
    async def work() -> None:
        recording, times = CountedRecording(), [0.0]
        reader = TrafficReader(cast("RequestRecording", recording), lambda: times[0])

        async def count() -> int:
            return (await reader.read(["a"]))["a"].requests

        many = ["a"] * (vm_traffic.MOST_NEW + 1)
        recording.add(*many)
        assert await count() == len(many)
        recording.add(*many)
        assert await count() == len(many)
        times[0] = vm_traffic.FRESH_S
        assert await count() == 2 * len(many)
        # Another process counts from 1 again.
        recording.all, recording.number = recording.all[:5], 5
        times[0] = 2 * vm_traffic.FRESH_S
        assert await count() == 5

    asyncio.run(work())


def test_readers_at_the_same_time_get_all_counts() -> None:
    async def work() -> None:
        recording = CountedRecording()
        reader = TrafficReader(cast("RequestRecording", recording), lambda: 0.0)
        recording.add("a")
        await reader.read(["a"])

        async def second() -> dict[str, VmTraffic]:
            recording.add("a")
            return await reader.read(["a"])

        # Meanwhile a new request comes from a VM that the first reader has counted.
        found = await asyncio.gather(reader.read(["a", "b", "c"]), second())
        assert [one["a"].requests for one in found] == [1, 2]

    asyncio.run(work())


def test_version_changes_when_other_counts_are_read() -> None:
    async def work() -> None:
        recording, times = CountedRecording(), [0.0]
        reader = TrafficReader(cast("RequestRecording", recording), lambda: times[0])
        many = ["a"] * (vm_traffic.MOST_NEW + 1)
        recording.add(*many)
        seen = [await reader.version()]
        await reader.read(["a"])
        recording.add(*many)
        assert await reader.version() == seen[0], "the counts are those of before"
        assert (await reader.read(["a"]))["a"].requests == len(many)
        times[0] = vm_traffic.FRESH_S
        seen.append(await reader.version())
        assert (await reader.read(["a"]))["a"].requests == 2 * len(many)
        recording.add("b")
        seen.append(await reader.version())
        assert len({*seen}) == 3

    asyncio.run(work())


def test_counts_are_none_after_a_clear() -> None:
    async def work() -> None:
        recording = CountedRecording()
        reader = TrafficReader(cast("RequestRecording", recording), lambda: 0.0)
        recording.add("a")
        assert (await reader.read(["a"]))["a"].requests == 1
        before = await reader.version()
        recording.clear()
        assert await reader.version() != before
        assert (await reader.read(["a"]))["a"].requests == 0

    asyncio.run(work())
