"""Streams of many hosts in one process: each compares and takes what control sends.

`python -m bench.fleet_streams PORT FOLDER FIRST COUNT` says `ready`, connects all at once when it
reads a line, and from then on prints when the last of them has all: `synced TIME VMS` after each
comparison, with the VMs that were sent for it, and `event INCARNATION TIME`. Times are seconds
since 1970.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from openimds import __version__
from openimds.credentials.hosts.identity import HostIdentity
from openimds.errors import Error
from openimds.server.hosts.connecting import connect
from openimds.server.hosts.digests import digest_of, digest_of_all, page
from openimds.server.hosts.messages import (
    DIGESTS_AT_ONCE,
    FEED_VERSION,
    Hello,
    PutVms,
    ReadDigests,
    Shown,
    Wait,
    Welcome,
)
from openimds.server.seam.messages import CountFaults, SeamMessage, UpdateScopes

_PAUSE_S = 0.5


class Streams:
    """All streams, and what the last of them waits for."""

    def __init__(self, count: int) -> None:
        """Begin with no stream that has all."""
        self._count, self._vms = count, 0
        self._synced: set[str] = set()
        self._seen: Counter[int] = Counter()

    def put(self, vms: int) -> None:
        """Count VMs that were sent."""
        self._vms += vms

    def lost(self, name: str) -> None:
        """Note that a stream has ended."""
        self._synced.discard(name)

    def synced(self, name: str) -> None:
        """Note that a stream has all, and print when it was the last."""
        if name in self._synced:
            return
        self._synced.add(name)
        if len(self._synced) == self._count:
            print("synced", time.time(), self._vms, flush=True)
            self._vms = 0

    def seen(self, incarnation: int) -> None:
        """Note that a stream has an incarnation, and print when it was the last."""
        self._seen[incarnation] += 1
        if self._seen[incarnation] == self._count:
            print("event", incarnation, time.time(), flush=True)


class Stream:
    """One host: it keeps the digests of its VMs alone."""

    def __init__(self, streams: Streams, name: str, folder: Path, control: str) -> None:
        """Read the certificate of the host."""
        self._streams, self._name, self._control = streams, name, control
        self._context = HostIdentity.open(folder / name).context()
        self._digests: dict[str, bytes] = {}
        self._incarnation = 0

    async def run(self) -> None:
        """Follow control for ever."""
        while True:
            with suppress(Error, OSError):
                await self._follow()
            self._streams.lost(self._name)
            await asyncio.sleep(_PAUSE_S * random.random())

    async def _follow(self) -> None:
        channel = await connect(self._control, self._context, self._answer)
        reading = asyncio.create_task(channel.run())
        try:
            digest = digest_of_all(self._digests)
            hello = Hello((FEED_VERSION,), __version__, "", len(self._digests), digest)
            answer: Welcome | Wait = await channel.call(hello)
            if isinstance(answer, Welcome):
                await reading
        finally:
            channel.close()
            await reading

    async def _answer(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        match message:
            case ReadDigests():
                return page(self._digests, message.after, DIGESTS_AT_ONCE)
            case PutVms():
                self._digests |= {vm.name: digest_of(vm.packed) for vm in message.puts}
                for name in message.removes:
                    self._digests.pop(name, None)
                self._streams.put(len(message.puts))
                return {}
            case CountFaults():
                return {}
            case Shown():
                self._streams.synced(self._name)
                return {}
            case UpdateScopes():
                for scope in message.scopes:
                    if scope.incarnation > self._incarnation:
                        self._incarnation = scope.incarnation
                        self._streams.seen(scope.incarnation)
        return None


async def _main(port: str, folder: str, first: str, count: str) -> None:
    streams, numbers = Streams(int(count)), range(int(first), int(first) + int(count))
    control = f"127.0.0.1:{port}"
    hosts = [Stream(streams, f"h-{number}", Path(folder), control) for number in numbers]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    tasks = [asyncio.create_task(host.run()) for host in hosts]
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
