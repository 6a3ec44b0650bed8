"""The recorded requests of this process, as the admin API reads them."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from openimds.dataplane.recording.recorder import Feed, Recorder
from openimds.protocol.lint import Record, report


class LocalRecording:
    """Reads the recorder of a host in the same process; counts the client checks' findings."""

    is_of_hosts = False

    def __init__(self, recorder: Recorder) -> None:
        """Read from this recorder."""
        self.recorder = recorder
        self._counted: tuple[tuple[int, int], Mapping[str, int]] = ((0, 0), {})
        self._lock = asyncio.Lock()

    @property
    def per_vm(self) -> int:
        """The number of records kept for each VM; 0 if recording is off."""
        return self.recorder.per_vm

    @property
    def clears(self) -> int:
        """The number of times that all records were dropped."""
        return self.recorder.clears

    async def last_number(self) -> int:
        """Return the number of the last request."""
        return self.recorder.last_number

    async def records(self, vm: str | None = None, since: int = 0) -> tuple[Record, ...]:
        """Return records after a number, oldest first: of a VM, unknown callers (""), or all."""
        return self.recorder.records(vm, since)

    async def clear(self) -> None:
        """Drop all records."""
        self.recorder.clear()

    async def findings(self) -> Mapping[str, int]:
        """Return the number of records that break each rule, counted when there are new records."""
        # Metrics are open and may be scraped at any rate: one count at a time, in a thread.
        async with self._lock:
            records = self.recorder.records()
            state = (self.recorder.last_number, len(records))
            if self._counted[0] != state:
                counts: Counter[str] = Counter()
                for finding in await asyncio.to_thread(report, records):
                    counts[finding.rule] += finding.times
                self._counted = (state, counts)
            return self._counted[1]

    def subscribe(self) -> Feed:
        """Return a feed of the records from now on."""
        return self.recorder.subscribe()

    def unsubscribe(self, feed: Feed) -> None:
        """End a feed."""
        self.recorder.unsubscribe(feed)
